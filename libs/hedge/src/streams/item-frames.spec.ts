import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import type { Encoded } from '../messaging/message.js';
import { Encoding } from '../wire/hedge/v1/link.js';
import { FRAME_BYTES, FramePacker, itemsOf } from './item-frames.js';

/** A packer, and the frames it has emitted. */
function packing() {
  const frames: { frame: Uint8Array; items: number }[] = [];
  return { frames, packer: new FramePacker((frame, items) => frames.push({ frame, items })) };
}

const item = (bytes: Uint8Array, encoding = Encoding.ENCODING_BYTES): Encoded => ({ encoding, bytes });
const contents = (frames: readonly { frame: Uint8Array }[]): number[][] =>
  frames.flatMap(({ frame }) => itemsOf(frame).map(({ encoding, bytes }) => [encoding, ...bytes]));

describe('frames of items', () => {
  it('contain every item in order, whenever the packer is flushed', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.uint8Array({ maxLength: 300 }) },
      {
        weight: 1,
        arbitrary: fc
          .constantFrom(FRAME_BYTES - 6, FRAME_BYTES - 5, FRAME_BYTES, 2 * FRAME_BYTES)
          .map((n) => new Uint8Array(n).fill(7)),
      },
      { weight: 2, arbitrary: fc.constant('flush' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { frames, packer } = packing();
        const added: Uint8Array[] = [];
        for (const each of steps) {
          if (each === 'flush') {
            packer.flush();
          } else {
            added.push(each);
            packer.add(item(each));
          }
        }
        packer.flush();
        const given = frames.flatMap(({ frame }) => itemsOf(frame));
        expect(given.map(({ bytes }) => Buffer.compare(bytes, added.shift()!))).toEqual(given.map(() => 0));
        expect(added).toEqual([]);
        for (const { frame, items } of frames) {
          expect(itemsOf(frame)).toHaveLength(items);
          if (items > 1) expect(frame.byteLength).toBeLessThanOrEqual(FRAME_BYTES);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('contain copies, so that the caller may change an item after it was added', () => {
    const { frames, packer } = packing();
    const bytes = Uint8Array.of(1, 2);
    packer.add(item(bytes));
    bytes.fill(9);
    packer.add(item(bytes, Encoding.ENCODING_SERIALIZED));
    packer.flush();
    expect(contents(frames)).toEqual([
      [Encoding.ENCODING_BYTES, 1, 2],
      [Encoding.ENCODING_SERIALIZED, 9, 9],
    ]);
  });

  it('a large item is emitted at once in a frame of its own, after the earlier items', () => {
    const { frames, packer } = packing();
    packer.add(item(Uint8Array.of(1)));
    packer.add(item(new Uint8Array(FRAME_BYTES)));
    expect(frames.map(({ items }) => items)).toEqual([1, 1]);
    packer.flush();
    expect(frames).toHaveLength(2);
  });

  it.each([1, 4, 5, 6])('a frame that is cut off after %d bytes is rejected', (length) => {
    const { frames, packer } = packing();
    packer.add(item(Uint8Array.of(1, 2, 3)));
    packer.flush();
    expect(() => itemsOf(frames[0]!.frame.subarray(0, length))).toThrow('cut off');
  });

  it('an unknown encoding of a newer version is passed to the codec, which rejects it', () => {
    expect(itemsOf(Uint8Array.of(77, 0, 0, 0, 0))).toEqual([item(Buffer.alloc(0), Encoding.UNRECOGNIZED)]);
  });
});
