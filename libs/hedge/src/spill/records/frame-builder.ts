import { HedgeError } from '../../common/errors.js';
import type { BinaryBatch } from './binary-batch.js';
import { FRAME_HEADER_BYTES, frameSize, offsetsAt, writeHeader } from './frame.js';
import type { FrameHeader, FrameIdentity, SpillFrame } from './frame.js';

/** One record. Text is stored as UTF-8, so it must not have lone surrogates. */
export type SpillRecord = Uint8Array | string;

/** The limit of a record, because its writer and its reader hold all of it in memory. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/** The most bytes of one UTF-16 unit in UTF-8. */
const UTF8_BYTES_PER_UNIT = 3;
const OFFSET_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** The most padding after the data. */
const PADDING_BYTES = 7;

/** The longest record that fits into a frame of that size. Longer records span several frames. */
export function longestRecord(frameBytes: number): number {
  return frameBytes - FRAME_HEADER_BYTES - PADDING_BYTES - 2 * OFFSET_BYTES;
}

/** The number of frames that a long record spans. They contain no other record. */
export function framesSpanned(recordBytes: number, frameBytes: number): number {
  return Math.max(1, Math.ceil(recordBytes / longestRecord(frameBytes)));
}

/** Whether the value has the type of a record. Does not check its length. */
export function isRecord(record: unknown): record is SpillRecord {
  return typeof record === 'string' ? record.isWellFormed() : record instanceof Uint8Array;
}

/** @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE */
export function checkRecord(record: unknown): asserts record is SpillRecord {
  if (typeof record === 'string' && !record.isWellFormed()) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      'A record is a text with a lone surrogate, which UTF-8 cannot represent. Encode it first, for example with JSON.stringify, or write bytes.',
    );
  }
  if (!isRecord(record)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `A record must be a Uint8Array or a string, not of type ${record === null ? 'null' : typeof record}. Serialize it.`,
    );
  }
  if (record.length * UTF8_BYTES_PER_UNIT <= MAX_RECORD_BYTES) return;
  const bytes = Buffer.byteLength(record);
  if (bytes <= MAX_RECORD_BYTES) return;
  throw new HedgeError(
    'PAYLOAD_TOO_LARGE',
    `A record of ${bytes} bytes is over the limit of ${MAX_RECORD_BYTES}; write it in several records.`,
    { details: { bytes, limit: MAX_RECORD_BYTES } },
  );
}

/**
 * Checks a record, and returns its bytes.
 * @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE
 */
export function recordBytes(record: unknown): Uint8Array {
  checkRecord(record);
  return typeof record === 'string' ? Buffer.from(record) : record;
}

/**
 * Fills one buffer with records. Data grows from the front; the offsets are collected in a scratch array, and follow
 * the data when the frame is sealed. apache-arrow's own builder is several times slower.
 *
 * @example
 * const builder = new FrameBuilder(buffer, scratch);
 * while (builder.write(record)) record = next();
 * const frame = builder.seal({ store, epoch, writer, sequence, firstRecord });
 */
export class FrameBuilder {
  #records = 0;
  #dataBytes = 0;
  #continues = false;
  #continued = false;

  /**
   * @param bytes the buffer of the frame, which the sealed frame keeps
   * @param scratch collects the offsets; can be reused when the frame is sealed
   */
  constructor(
    private readonly bytes: Buffer,
    private readonly scratch: Int32Array,
  ) {
    scratch[0] = 0;
  }

  /** A scratch array for frames of that size. */
  static scratch(frameBytes: number): Int32Array {
    return new Int32Array(frameBytes / OFFSET_BYTES);
  }

  get records(): number {
    return this.#records;
  }

  /** Appends one record. False, with nothing written, when it does not fit. */
  write(record: SpillRecord): boolean {
    if (typeof record === 'string') return this.#writeText(record);
    if (record.length > this.#room()) return false;
    this.bytes.set(record, FRAME_HEADER_BYTES + this.#dataBytes);
    this.#append(record.length);
    return true;
  }

  /** Appends records of a batch from that index on, as many as fit, and returns their number. */
  writeBatch(batch: BinaryBatch, from: number): number {
    const { offsets, data } = batch;
    const count = this.#fitting(batch, from);
    const first = offsets[from] as number;
    this.bytes.set(data.subarray(first, offsets[from + count]), FRAME_HEADER_BYTES + this.#dataBytes);
    const shift = this.#dataBytes - first;
    const at = this.#records - from;
    for (let i = from + 1; i <= from + count; i += 1) this.scratch[at + i] = (offsets[i] as number) + shift;
    this.#records += count;
    this.#dataBytes = (offsets[from + count] as number) + shift;
    return count;
  }

  /**
   * Writes the next part of a record that spans frames, as the only content of this frame, and returns its length.
   * @param from the bytes of the record in the frames before
   */
  writePart(record: Uint8Array, from: number): number {
    const part = record.subarray(from, from + longestRecord(this.bytes.length));
    this.bytes.set(part, FRAME_HEADER_BYTES);
    this.#append(part.length);
    this.#continues = from > 0;
    this.#continued = from + part.length < record.length;
    return part.length;
  }

  /** Completes the frame, which is the used part of the buffer. Call no other method afterwards. */
  seal(identity: FrameIdentity): SpillFrame {
    const records = this.#records;
    const dataBytes = this.#dataBytes;
    const bytes = this.bytes.subarray(0, frameSize(records, dataBytes));
    const offsets = offsetsAt(dataBytes);
    // Clears bytes of an earlier frame in this buffer.
    bytes.fill(0, FRAME_HEADER_BYTES + dataBytes, offsets);
    bytes.set(new Uint8Array(this.scratch.buffer, this.scratch.byteOffset, (records + 1) * OFFSET_BYTES), offsets);
    const header: FrameHeader = {
      ...identity,
      records,
      dataBytes,
      continues: this.#continues,
      continued: this.#continued,
      codec: 'none',
    };
    writeHeader(bytes, header);
    return { header, bytes };
  }

  #writeText(text: string): boolean {
    const room = this.#room();
    if (text.length * UTF8_BYTES_PER_UNIT > room && Buffer.byteLength(text) > room) return false;
    this.#append(this.bytes.write(text, FRAME_HEADER_BYTES + this.#dataBytes));
    return true;
  }

  #append(length: number): void {
    this.#dataBytes += length;
    this.#records += 1;
    this.scratch[this.#records] = this.#dataBytes;
  }

  /** The longest record that still fits. */
  #room(): number {
    return longestRecord(this.bytes.length) - this.#dataBytes - this.#records * OFFSET_BYTES;
  }

  /** The number of records from that index on that fit, data and offsets together. */
  #fitting({ offsets, count }: BinaryBatch, from: number): number {
    const first = offsets[from] as number;
    // With one more record, the room shrinks by its data and its offset.
    const room = this.#room() + OFFSET_BYTES;
    let [fits, tooMany] = [0, count - from + 1];
    while (tooMany - fits > 1) {
      const middle = (fits + tooMany) >>> 1;
      if ((offsets[from + middle] as number) - first + middle * OFFSET_BYTES <= room) fits = middle;
      else tooMany = middle;
    }
    return fits;
  }
}
