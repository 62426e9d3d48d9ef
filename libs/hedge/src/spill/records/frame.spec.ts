import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { FrameBuilder } from './frame-builder.js';
import { MAX_FRAME_BYTES, readFrame, stampChecksum, type SpillFrame } from './frame.js';
import { lz4 } from './compression.js';
import { RecordViews } from './record-views.js';

const identity = {
  store: 'f0112233445566778899aabbccddeeff',
  epoch: 2 ** 50,
  writer: 4_000_000_000,
  sequence: 3_000_000_000,
  firstRecord: 2 ** 52,
};

function frameOf(records: readonly string[]): SpillFrame {
  const builder = new FrameBuilder(Buffer.alloc(8_192), FrameBuilder.scratch(8_192));
  for (const record of records) builder.write(record);
  const frame = builder.seal(identity);
  stampChecksum(frame);
  return frame;
}

describe('a frame', () => {
  it('is read unchanged at any address', () => {
    const frame = frameOf(['a', 'bc']);
    for (const shift of [0, 1, 2, 3]) {
      const moved = Buffer.concat([Buffer.alloc(shift), frame.bytes]).subarray(shift);
      const read = readFrame(moved);
      expect(read.header).toEqual(frame.header);
      expect([...RecordViews.of(read)].map(String)).toEqual(['a', 'bc']);
    }
  });

  it('is corrupt when any bit has changed, or when it is truncated', () => {
    const { bytes } = frameOf(['some', 'records']);
    const refusal = expect.objectContaining({ code: 'SPILL_CORRUPT' });
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(() => readFrame(changed)).toThrow(refusal);
      }),
    );
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => readFrame(bytes.subarray(0, length))).toThrow(refusal);
    }
  });

  it('is corrupt when its sizes do not match, even with a correct checksum', () => {
    for (const [at, value] of [
      [48, 1_000],
      [52, 0xffff_ffff],
      [52, MAX_FRAME_BYTES],
      [4, 0x0900],
    ] as const) {
      const { header, bytes } = frameOf(['record']);
      bytes.writeUInt32LE(value, at);
      bytes.writeUInt32LE(0, 60);
      stampChecksum({ header, bytes });
      expect(() => readFrame(bytes)).toThrow(expect.objectContaining({ code: 'SPILL_CORRUPT' }));
    }
  });
});

describe('compression with lz4', () => {
  it('makes a frame smaller, and restores the same records', async () => {
    const { compress, decompress } = await lz4();
    const records = Array.from({ length: 50 }, (_, i) => `the same text, and the number ${i}`);
    const small = await compress(frameOf(records));
    stampChecksum(small);
    const arrived = readFrame(Buffer.from(small.bytes));
    expect(arrived.header).toEqual({ ...frameOf(records).header, codec: 'lz4' });
    expect(arrived.bytes.length).toBeLessThan(frameOf(records).bytes.length / 2);
    expect([...RecordViews.of(await decompress(arrived))].map(String)).toEqual(records);
  });

  it('returns a frame unchanged that would not become smaller', async () => {
    const { compress, decompress } = await lz4();
    const frame = frameOf(['x']);
    expect(await compress(frame)).toBe(frame);
    expect(await decompress(frame)).toBe(frame);
  });

  it('rejects a body with a wrong length, and one that is not lz4', async () => {
    const { compress, decompress } = await lz4();
    for (const at of [64, 68, 75]) {
      const { header, bytes } = await compress(frameOf(['a'.repeat(900), 'b'.repeat(900)]));
      bytes.writeUInt32LE(0xffff_fff0, at);
      await expect(decompress({ header, bytes })).rejects.toMatchObject({ code: 'SPILL_CORRUPT' });
    }
  });
});
