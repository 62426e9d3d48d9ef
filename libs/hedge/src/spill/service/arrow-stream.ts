import { Readable } from 'node:stream';
import { arrowBatches, type RecordColumn } from '../records/arrow.js';
import { RecordViews } from '../records/record-views.js';
import type { RecordBatch } from 'apache-arrow';

/** Records as Arrow batches, not copied. */
export async function* batchesOfViews(
  views: AsyncGenerator<RecordViews, void>,
): AsyncGenerator<RecordBatch<RecordColumn>, void> {
  const toBatch = await arrowBatches();
  for await (const records of views) yield toBatch(records);
}

/**
 * The bytes of an Arrow IPC stream, at the pace of whoever reads them. Its schema is there without records too.
 * @see https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
 */
export function arrowStream(views: AsyncGenerator<RecordViews, void>): Readable {
  return Readable.from(ipcBytes(views), { objectMode: false });
}

async function* ipcBytes(views: AsyncGenerator<RecordViews, void>): AsyncGenerator<Uint8Array, void> {
  const { AsyncByteQueue, RecordBatchStreamWriter } = await import('apache-arrow');
  const written: Uint8Array[] = [];
  // In place of apache-arrow's own streams, whose end, and whose failure, are not always heard.
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
