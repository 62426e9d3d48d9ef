import { HedgeError } from '../../common/errors.js';
import type { SpillFrame } from './frame.js';
import { RecordViews } from './record-views.js';

/**
 * Turns the uncompressed frames of a store, in order, into whole records: one that spans frames comes with its last.
 * Only such a record is copied.
 *
 * @example
 * const whole = new WholeRecords();
 * for await (const frame of frames) for (const record of whole.of(frame)) take(record);
 */
export class WholeRecords {
  #parts: Buffer[] = [];

  /**
   * The records that are complete with this frame; none while a record goes on.
   * @throws HedgeError SPILL_CORRUPT when the frames do not follow each other
   */
  of(frame: SpillFrame): RecordViews {
    const { continues, continued, sequence } = frame.header;
    if (continues !== this.#parts.length > 0) {
      throw new HedgeError(
        'SPILL_CORRUPT',
        `Frame ${sequence} of spilled data does not go on where the one before it ended; write the store again.`,
      );
    }
    const records = RecordViews.of(frame);
    if (!continues && !continued) return records;
    this.#parts.push(records.data);
    if (continued) return new RecordViews(new Int32Array(1), Buffer.alloc(0));
    const record = Buffer.concat(this.#parts);
    this.#parts = [];
    return new RecordViews(Int32Array.of(0, record.length), record);
  }
}
