import type { Binary, RecordBatch } from 'apache-arrow';
import type { BinaryBatch } from './binary-batch.js';

/** The one column that record batches of a spill store have. */
export type RecordColumn = { record: Binary };

/** Wraps records as an Arrow batch with one column `record` of type Binary, without copying. */
export type ToRecordBatch = (records: BinaryBatch) => RecordBatch<RecordColumn>;

/** Loads apache-arrow, which takes a while and some memory, for those who read batches only. */
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
