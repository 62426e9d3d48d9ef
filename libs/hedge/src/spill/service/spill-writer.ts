import { Writable } from 'node:stream';
import type { BinaryVector } from '../records/binary-batch.js';
import type { SpillRecord } from '../records/frame-builder.js';
import type { RecordWriter } from './record-writer.js';

/**
 * A writer of spilled data: a Writable of records in object mode. Several writers can write at once; each keeps the order
 * of its records.
 *
 * @example
 * await pipeline(rows, data.writer());
 */
export class SpillWriter extends Writable {
  readonly #records: RecordWriter;

  constructor(records: RecordWriter) {
    super({ objectMode: true, highWaterMark: 256, decodeStrings: false });
    this.#records = records;
  }

  /**
   * As `write`, but resolves when the next record can be written, and rejects with the error of this record. Do not mix
   * it with `write`, whose records may still wait in the stream.
   */
  writeRecord(record: SpillRecord): Promise<void> {
    return this.#records.write(record);
  }

  /** As `writeRecord`, for many records: an Arrow vector of type Binary or Utf8, or an array. */
  writeBatch(batch: BinaryVector | readonly SpillRecord[]): Promise<void> {
    return this.#records.writeBatch(batch);
  }

  override _write(record: SpillRecord, _encoding: BufferEncoding, settled: (error?: Error) => void): void {
    this.#records.write(record).then(() => settled(), settled);
  }

  override _writev(chunks: { chunk: SpillRecord }[], settled: (error?: Error) => void): void {
    this.#records.writeBatch(chunks.map(({ chunk }) => chunk)).then(() => settled(), settled);
  }

  override _final(settled: (error?: Error) => void): void {
    this.#records.finish().then(() => settled(), settled);
  }

  /** Writes the records that this writer has accepted, also when it is destroyed early. */
  override _destroy(reason: Error | null, destroyed: (reason?: Error | null) => void): void {
    this.#records.finish().then(() => destroyed(reason), destroyed);
  }
}
