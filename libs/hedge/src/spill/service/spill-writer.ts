import { Writable } from 'node:stream';
import type { BinaryVector } from '../records/binary-batch.js';
import type { SpillRecord } from '../records/frame-builder.js';
import type { RecordWriter } from './record-writer.js';

/**
 * One of the writers of a spill store: a Writable of records in object mode. Several write at once; the records of
 * each stay in their order.
 *
 * @example
 * await pipeline(rows, store.writer());
 */
export class SpillWriter extends Writable {
  readonly #records: RecordWriter;

  constructor(records: RecordWriter) {
    super({ objectMode: true, highWaterMark: 256, decodeStrings: false });
    this.#records = records;
  }

  /**
   * As `write`, but resolves when the next record may come, and rejects with what is wrong with this one. Not to be
   * mixed with `write`, whose records may still wait in the stream.
   */
  writeRecord(record: SpillRecord): Promise<void> {
    return this.#records.write(record);
  }

  /** Many records at once: an Arrow vector of type Binary or Utf8, or an array. See `writeRecord`. */
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

  /** What a writer has taken is written, also when it ends too early. */
  override _destroy(reason: Error | null, destroyed: (reason?: Error | null) => void): void {
    this.#records.finish().then(() => destroyed(reason), destroyed);
  }
}
