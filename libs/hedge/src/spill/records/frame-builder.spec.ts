import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { vectorFromArray, Binary, Utf8, Int32 } from 'apache-arrow';
import { batchesOf } from './binary-batch.js';
import { FrameBuilder, framesSpanned, longestRecord, MAX_RECORD_BYTES, recordBytes } from './frame-builder.js';
import { nextRecord, recordRange, type SpillFrame } from './frame.js';
import { RecordViews, WholeRecords } from './record-views.js';

const FRAME_BYTES = 1_024;
const scratch = FrameBuilder.scratch(FRAME_BYTES);
const identity = { store: '00112233445566778899aabbccddeeff', epoch: 3, writer: 1, sequence: 7, firstRecord: 100 };

function builder(): FrameBuilder {
  // Not zeroed, so that bytes that the builder omits are seen.
  return new FrameBuilder(Buffer.alloc(FRAME_BYTES, 0xee), scratch);
}

function texts(frame: SpillFrame): string[] {
  return [...RecordViews.of(frame)].map(String);
}

describe('FrameBuilder', () => {
  it('keeps records in order: bytes, text and empty ones', () => {
    const frame = builder();
    for (const record of ['one', new Uint8Array([116, 119, 111]), '', 'größer €'])
      expect(frame.write(record)).toBe(true);
    expect(texts(frame.seal(identity))).toEqual(['one', 'two', '', 'größer €']);
  });

  it('writes the longest record that fits, and nothing of one that is a byte longer', () => {
    const longest = longestRecord(FRAME_BYTES);
    expect(builder().write(Buffer.alloc(longest))).toBe(true);
    expect(builder().write('x'.repeat(longest))).toBe(true);
    const full = builder();
    expect(full.write(Buffer.alloc(longest + 1))).toBe(false);
    expect(full.write('ü'.repeat(longest / 2 + 1))).toBe(false);
    expect(full.records).toBe(0);
  });

  it('never exceeds its buffer with records of any size', () => {
    const frame = builder();
    let written = 0;
    while (frame.write('')) written += 1;
    const { bytes, header } = frame.seal(identity);
    expect(header.records).toBe(written);
    expect(bytes.length).toBeLessThanOrEqual(FRAME_BYTES);
    expect(bytes.length).toBeGreaterThan(FRAME_BYTES - 16);
  });

  it('clears earlier bytes of the buffer', () => {
    const frame = builder();
    frame.write('abc');
    expect(frame.seal(identity).bytes.subarray(64 + 3, 64 + 8)).toEqual(Buffer.alloc(5));
  });

  it('numbers records from the first one on', () => {
    const frame = builder();
    for (const record of ['a', 'b', 'c']) frame.write(record);
    const { header } = frame.seal(identity);
    expect(recordRange(header)).toEqual({ from: 100, to: 103 });
    expect(nextRecord(header)).toBe(103);
  });

  it('writes as many records of a batch as it would write one by one', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 })),
        fc.array(fc.uint8Array({ maxLength: 99 })),
        (before, batch) => {
          const [one, other] = [builder(), builder()];
          for (const record of before) expect(one.write(record)).toBe(other.write(record));
          const single = batch.findIndex((record) => !one.write(record));
          const [chunk] = batchesOf(vectorFromArray(batch, new Binary()));
          if (chunk === undefined) return;
          expect(other.writeBatch(chunk, 0)).toBe(single < 0 ? batch.length : single);
          expect(one.seal(identity).bytes).toEqual(other.seal(identity).bytes);
        },
      ),
    );
  });
});

describe('a record that spans frames', () => {
  it.each([1, 2, 3])('is read whole from %i frames', (frames) => {
    const record = Buffer.from(Array.from({ length: longestRecord(FRAME_BYTES) * frames }, (_, i) => i % 251));
    expect(framesSpanned(record.length, FRAME_BYTES)).toBe(frames);
    const whole = new WholeRecords();
    const read: Buffer[] = [];
    let [from, firstRecord] = [0, 5];
    for (let sequence = 0; sequence < frames; sequence += 1) {
      const part = builder();
      from += part.writePart(record, from);
      const frame = part.seal({ ...identity, sequence, firstRecord });
      firstRecord = nextRecord(frame.header);
      read.push(...whole.of(frame));
    }
    expect(from).toBe(record.length);
    expect(firstRecord).toBe(6);
    expect(read).toEqual([record]);
  });

  it('fails the read when one of its frames is missing', () => {
    const record = Buffer.alloc(3 * FRAME_BYTES);
    const [first, last] = [builder(), builder()];
    first.writePart(record, 0);
    last.writePart(record, record.length - 10);
    const alone = new WholeRecords();
    expect(() => alone.of(last.seal(identity))).toThrow(expect.objectContaining({ code: 'SPILL_CORRUPT' }));
    const interrupted = new WholeRecords();
    interrupted.of(first.seal(identity));
    const next = builder();
    next.write('another');
    expect(() => interrupted.of(next.seal(identity))).toThrow(expect.objectContaining({ code: 'SPILL_CORRUPT' }));
  });
});

describe('a valid record or batch', () => {
  it('is not a text with a lone surrogate', () => {
    for (const lone of ['a\ud800b', '\udc00', 'x'.repeat(99) + '\ud83d']) {
      expect(() => recordBytes(lone)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
    expect(recordBytes('😀\0').toString()).toBe('😀\0');
  });

  it('is bytes or text up to the limit of a record', () => {
    expect(recordBytes('äb')).toEqual(Buffer.from('äb'));
    expect(recordBytes(new Uint8Array(MAX_RECORD_BYTES)).length).toBe(MAX_RECORD_BYTES);
    const larger = new Uint8Array(MAX_RECORD_BYTES + 1);
    expect(() => recordBytes(larger)).toThrow(expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }));
    for (const wrong of [undefined, null, 7, {}, [1]]) {
      expect(() => recordBytes(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });

  it('is an Arrow vector of type Binary or Utf8, sliced or in chunks, without nulls', () => {
    const texts = vectorFromArray(['a', 'bc', 'def'], new Utf8());
    const records = batchesOf(texts.slice(1).concat(texts)).flatMap(({ offsets, data, count }) =>
      Array.from({ length: count }, (_, i) => Buffer.from(data.subarray(offsets[i], offsets[i + 1])).toString()),
    );
    expect(records).toEqual(['bc', 'def', 'a', 'bc', 'def']);
    expect(() => batchesOf(vectorFromArray([1], new Int32()))).toThrow(/Int32/);
    expect(() => batchesOf(vectorFromArray(['a', null], new Utf8()))).toThrow(/1\. Filter/);
  });
});
