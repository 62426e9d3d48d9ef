import { HedgeError } from '../../common/errors.js';
import type { BinaryBatch } from './binary-batch.js';
import { FRAME_HEADER_BYTES, offsetsAt, type SpillFrame } from './frame.js';

/**
 * The records of a frame as views, not copies. A view keeps the whole frame alive, and must not be changed.
 *
 * @example
 * for (const record of RecordViews.of(frame)) digest.update(record);
 */
export class RecordViews implements BinaryBatch, Iterable<Buffer> {
  constructor(
    readonly offsets: Int32Array,
    readonly data: Buffer,
  ) {}

  /** The records of an uncompressed frame, with parts of records. */
  static of({ header: { records, dataBytes }, bytes }: SpillFrame): RecordViews {
    const data = bytes.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + dataBytes);
    return new RecordViews(offsetsOf(bytes, offsetsAt(dataBytes), records + 1), data);
  }

  get count(): number {
    return this.offsets.length - 1;
  }

  at(index: number): Buffer {
    return this.data.subarray(this.offsets[index], this.offsets[index + 1]);
  }

  /** The records from index `from` to index `to`, exclusive, without copying. */
  slice(from: number, to: number): RecordViews {
    return new RecordViews(this.offsets.subarray(from, to + 1), this.data);
  }

  *[Symbol.iterator](): Generator<Buffer, void, undefined> {
    for (let i = 0; i < this.count; i += 1) yield this.at(i);
  }
}

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

/** A view if the offsets are aligned, else a copy: a frame in a network message may begin at any address. */
function offsetsOf(bytes: Buffer, at: number, count: number): Int32Array {
  const start = bytes.byteOffset + at;
  if (start % Int32Array.BYTES_PER_ELEMENT === 0) return new Int32Array(bytes.buffer, start, count);
  const copy = new Int32Array(count);
  new Uint8Array(copy.buffer).set(bytes.subarray(at, at + copy.byteLength));
  return copy;
}
