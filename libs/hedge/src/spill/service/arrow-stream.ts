import { Readable } from 'node:stream';
import type { Binary, RecordBatch } from 'apache-arrow';
import type { BinaryBatch } from '../records/binary-batch.js';
import { RecordViews } from '../records/record-views.js';

/** The only column of record batches of spilled data. */
export type RecordColumn = { record: Binary };

/** Wraps records as an Arrow batch with one column `record` of type Binary, without copying. */
export type ToRecordBatch = (records: BinaryBatch) => RecordBatch<RecordColumn>;

/** Loads apache-arrow. It takes time and memory, so it is loaded only when batches are read. */
export async function arrowBatches(): Promise<ToRecordBatch> {
  const { Binary, Field, RecordBatch, Schema, Struct, makeData } = await import('apache-arrow');
  const column = new Field('record', new Binary(), false);
  const schema = new Schema<RecordColumn>([column]);
  const row = new Struct<RecordColumn>([column]);
  return ({ count, offsets, data }) => {
    const child = makeData({ type: column.type, length: count, nullCount: 0, valueOffsets: offsets, data });
    return new RecordBatch(schema, makeData({ type: row, length: count, nullCount: 0, children: [child] }));
  };
}

/** Records as Arrow batches, without copying. */
export async function* batchesOfViews(
  views: AsyncGenerator<RecordViews, void>,
): AsyncGenerator<RecordBatch<RecordColumn>, void> {
  const toBatch = await arrowBatches();
  for await (const records of views) yield toBatch(records);
}

/**
 * The bytes of an Arrow IPC stream, produced as fast as they are read. An empty stream has the schema too.
 * @see https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
 */
export function arrowStream(views: AsyncGenerator<RecordViews, void>): Readable {
  return Readable.from(ipcBytes(views), { objectMode: false });
}

async function* ipcBytes(views: AsyncGenerator<RecordViews, void>): AsyncGenerator<Uint8Array, void> {
  const { AsyncByteQueue, RecordBatchStreamWriter } = await import('apache-arrow');
  const written: Uint8Array[] = [];
  // apache-arrow's own streams do not always report their end or their failure.
  class Sink extends AsyncByteQueue<Uint8Array> {
    override write(bytes: Uint8Array): void {
      written.push(bytes);
    }
  }
  const writer = new RecordBatchStreamWriter<RecordColumn>().reset(new Sink());
  for await (const batch of atLeastOne(batchesOfViews(views))) {
    writer.write(batch);
    yield* written.splice(0);
  }
  writer.finish();
  yield* written.splice(0);
}

async function* atLeastOne(
  batches: AsyncGenerator<RecordBatch<RecordColumn>, void>,
): AsyncGenerator<RecordBatch<RecordColumn>, void> {
  let none = true;
  for await (const batch of batches) {
    none = false;
    yield batch;
  }
  if (none) yield (await arrowBatches())(new RecordViews(new Int32Array(1), Buffer.alloc(0)));
}
