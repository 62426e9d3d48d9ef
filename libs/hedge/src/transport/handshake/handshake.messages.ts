import type { FrameBody } from '../transport.js';
import { Envelope } from '../../wire/hedge/v1/link.js';

/** A message of the handshake: an envelope with exactly one frame. */
export function messageOf(body: FrameBody): Uint8Array {
  return Envelope.encode({ frames: [{ body }], acknowledged: [] }).finish();
}

/** The one frame of a handshake message, or undefined when it is anything else. */
export function frameOf(message: Uint8Array): FrameBody | undefined {
  try {
    const { frames, acknowledged } = Envelope.decode(message);
    return frames.length === 1 && acknowledged.length === 0 ? frames[0]?.body : undefined;
  } catch {
    return undefined;
  }
}
