import { HedgeError } from '../../common/errors.js';
import type { BinaryBatch } from './binary-batch.js';
import { FRAME_HEADER_BYTES, frameSize, offsetsAt, writeHeader } from './frame.js';
import type { FrameHeader, FrameIdentity, SpillFrame } from './frame.js';

/** What a record is given as; text is stored as UTF-8, and so must not have lone surrogates. */
export type SpillRecord = Uint8Array | string;

/** A larger record is refused: it is whole in the memory of its writer, and again of its reader. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/** The most bytes that one UTF-16 unit of a string becomes in UTF-8. */
const UTF8_BYTES_PER_UNIT = 3;
const OFFSET_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** What a frame takes beside header, data and its first offset, at most: the padding of the data. */
const PADDING_BYTES = 7;

/** The longest record that fits into a frame of that size; longer ones span several. */
export function longestRecord(frameBytes: number): number {
  return frameBytes - FRAME_HEADER_BYTES - PADDING_BYTES - 2 * OFFSET_BYTES;
}

/** How many frames a record of that length spans, each with nothing else in it. */
export function framesSpanned(recordBytes: number, frameBytes: number): number {
  return Math.max(1, Math.ceil(recordBytes / longestRecord(frameBytes)));
}

/** Whether it can be stored, if it is not too long. */
export function isRecord(record: unknown): record is SpillRecord {
  return typeof record === 'string' ? record.isWellFormed() : record instanceof Uint8Array;
}

/** @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE */
export function checkRecord(record: unknown): asserts record is SpillRecord {
  if (typeof record === 'string' && !record.isWellFormed()) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      'A record is a text with a lone surrogate, which would be read back as another text. Encode it first, for instance by JSON.stringify, or write bytes.',
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
 * The bytes of a record, and that it may be stored.
 * @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE
 */
export function recordBytes(record: unknown): Uint8Array {
  checkRecord(record);
  return typeof record === 'string' ? Buffer.from(record) : record;
}

/**
 * Fills one buffer with records, by hand: data grows from the front, the offsets wait in a scratch array and follow
 * when the frame is sealed. apache-arrow's own builder takes several times as long.
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
   * @param bytes where the frame is built; it belongs to the frame afterwards
   * @param scratch for the offsets; may be used again once the frame is sealed
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

  /** Appends one record; false, with nothing written, when it does not fit any more. */
  write(record: SpillRecord): boolean {
    if (typeof record === 'string') return this.#writeText(record);
    if (record.length > this.#room()) return false;
    this.bytes.set(record, FRAME_HEADER_BYTES + this.#dataBytes);
    this.#append(record.length);
    return true;
  }

  /** Appends the records of a batch from that index on, as many as fit; returns how many. */
  writeBatch(batch: BinaryBatch, from: number): number {
    const { offsets, data } = batch;
    const taken = this.#fitting(batch, from);
    const first = offsets[from] as number;
    this.bytes.set(data.subarray(first, offsets[from + taken]), FRAME_HEADER_BYTES + this.#dataBytes);
    const shift = this.#dataBytes - first;
    const at = this.#records - from;
    for (let i = from + 1; i <= from + taken; i += 1) this.scratch[at + i] = (offsets[i] as number) + shift;
    this.#records += taken;
    this.#dataBytes = (offsets[from + taken] as number) + shift;
    return taken;
  }

  /**
   * Takes the next part of a record that spans frames, as the only content of this one; returns its length.
   * @param from how much of the record lies in the frames before
   */
  writePart(record: Uint8Array, from: number): number {
    const part = record.subarray(from, from + longestRecord(this.bytes.length));
    this.bytes.set(part, FRAME_HEADER_BYTES);
    this.#append(part.length);
    this.#continues = from > 0;
    this.#continued = from + part.length < record.length;
    return part.length;
  }

  /** Completes the frame, which is a part of the buffer as long as its content. Nothing is written after it. */
  seal(identity: FrameIdentity): SpillFrame {
    const records = this.#records;
    const dataBytes = this.#dataBytes;
    const bytes = this.bytes.subarray(0, frameSize(records, dataBytes));
    const offsets = offsetsAt(dataBytes);
    // The buffer may have held another store's records.
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

  /** How long the next record may be. */
  #room(): number {
    return longestRecord(this.bytes.length) - this.#dataBytes - this.#records * OFFSET_BYTES;
  }

  /** How many records from that index on fit: the largest count of which data and offsets are within the buffer. */
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
