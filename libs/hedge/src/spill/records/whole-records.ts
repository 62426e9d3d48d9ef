import { HedgeError } from '../../common/errors.js';
import type { SpillFrame } from './frame.js';
import { RecordViews } from './record-views.js';

/**
 * Converts the uncompressed frames of a store, in order, to whole records. A record that spans frames is returned with
 * its last frame; only such a record is copied.
 *
 * @example
 * const whole = new WholeRecords();
 * for await (const frame of frames) for (const record of whole.of(frame)) handle(record);
 */
export class WholeRecords {
  #parts: Buffer[] = [];

  /**
   * The records that end in this frame.
   * @throws HedgeError SPILL_CORRUPT when the frames do not follow each other
   */
  of(frame: SpillFrame): RecordViews {
    const { continues, continued, sequence } = frame.header;
    if (continues !== this.#parts.length > 0) {
      throw new HedgeError(
        'SPILL_CORRUPT',
        `Frame ${sequence} of spilled data does not continue the frame before it. Write the data again.`,
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
