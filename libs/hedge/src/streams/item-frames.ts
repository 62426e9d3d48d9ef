import { HedgeError } from '../common/errors.js';
import type { Encoded } from '../messaging/message.js';
import { Encoding } from '../wire/hedge/v1/link.js';

/** A frame of small items is full at this size. */
export const FRAME_BYTES = 64 * 1024;
export const ITEM_HEADER_BYTES = 5;

const ENCODINGS = [Encoding.ENCODING_NONE, Encoding.ENCODING_BYTES, Encoding.ENCODING_SERIALIZED];
const NONE = Buffer.alloc(0);

/**
 * Packs items into frames: see proto/hedge/v1/stream.proto. It copies each added item, so the caller may change the item
 * afterwards.
 */
export class FramePacker {
  /** The buffer from which frames are cut, one after another. */
  #slab = NONE;
  #start = 0;
  #end = 0;
  #items = 0;

  /** @param emit called with each frame and the number of its items. */
  constructor(private readonly emit: (frame: Uint8Array, items: number) => void) {}

  add({ encoding, bytes }: Encoded): void {
    const size = ITEM_HEADER_BYTES + bytes.byteLength;
    if (this.#end + size > this.#slab.byteLength) {
      this.flush();
      this.#slab = Buffer.allocUnsafe(Math.max(FRAME_BYTES, size));
      this.#start = this.#end = 0;
    }
    this.#slab[this.#end] = encoding;
    this.#slab.writeUInt32LE(bytes.byteLength, this.#end + 1);
    this.#slab.set(bytes, this.#end + ITEM_HEADER_BYTES);
    this.#end += size;
    this.#items += 1;
    if (size >= FRAME_BYTES) this.flush();
  }

  /** Emits the items since the last frame, if there are any. */
  flush(): void {
    if (this.#items === 0) return;
    const frame = this.#slab.subarray(this.#start, this.#end);
    const items = this.#items;
    this.#start = this.#end;
    this.#items = 0;
    this.emit(frame, items);
  }
}

/**
 * The items of a frame, as views into it.
 * @throws HedgeError INVALID_ARGUMENT when the frame is malformed.
 */
export function itemsOf(frame: Uint8Array): Encoded[] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const items: Encoded[] = [];
  for (let at = 0; at < frame.byteLength;) {
    const start = at + ITEM_HEADER_BYTES;
    const end = start <= frame.byteLength ? start + view.getUint32(at + 1, true) : Infinity;
    if (end > frame.byteLength) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `A frame of a stream is cut off after ${frame.byteLength} bytes. Run the same version of nestjs-hedge on all pods.`,
      );
    }
    items.push({ encoding: ENCODINGS[view.getUint8(at)] ?? Encoding.UNRECOGNIZED, bytes: frame.subarray(start, end) });
    at = end;
  }
  return items;
}
