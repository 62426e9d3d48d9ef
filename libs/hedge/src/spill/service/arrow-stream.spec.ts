import { describe, expect, it } from '@jest/globals';
import { RecordBatchReader, RecordBatchStreamWriter } from 'apache-arrow';
import { arrowBatches } from './arrow-stream.js';
import { FrameBuilder } from '../records/frame-builder.js';
import { RecordViews } from '../records/record-views.js';

describe('Arrow record batches', () => {
  it('use the memory of the frame itself, and survive the Arrow stream format', async () => {
    const builder = new FrameBuilder(Buffer.alloc(4_096), FrameBuilder.scratch(4_096));
    const records = ['a', '', 'three'];
    for (const record of records) builder.write(record);
    const store = '00112233445566778899aabbccddeeff';
    const frame = builder.seal({ store, epoch: 1, writer: 0, sequence: 0, firstRecord: 0 });

    const batch = (await arrowBatches())(RecordViews.of(frame));
    const column = batch.getChild('record');
    expect(column?.data[0]?.values.buffer).toBe(frame.bytes.buffer);
    expect(column?.data[0]?.valueOffsets.buffer).toBe(frame.bytes.buffer);

    const stream = RecordBatchStreamWriter.writeAll([batch]).toUint8Array(true);
    const read = [...RecordBatchReader.from(stream)].flatMap((batch) => batch.toArray());
    expect(read.map(({ record }) => Buffer.from(record).toString())).toEqual(records);
  });
});
