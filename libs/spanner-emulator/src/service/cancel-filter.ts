import type { Socket } from 'node:net';

/** HTTP/2 (RFC 9113, sections 4.1 and 6): the length of the frame in 3 bytes, its type in one, flags, and the stream. */
const PREFACE_LENGTH = 24;
const HEADER_LENGTH = 9;
const RST_STREAM = 3;
const WINDOW_UPDATE = 8;
/** Large enough for the rest of a stream, and small enough that no window exceeds 2^31 - 1. */
const INCREMENT = Buffer.from([0x3f, 0xff, 0xff, 0xff]);

/**
 * Replaces each RST_STREAM of a client by a WINDOW_UPDATE of the same length. The server then sends the rest of the stream
 * instead of ending it. Clients ignore frames on streams that they have reset.
 */
export class CancelFilter {
  private skip = PREFACE_LENGTH;
  private at = 0;
  private length = 0;
  private isReset = false;

  /** Changes the bytes in place. Frames may be cut anywhere between two calls. */
  apply(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length;) {
      if (this.skip > 0) {
        const passed = Math.min(this.skip, bytes.length - i);
        if (this.isReset) bytes.set(INCREMENT.subarray(INCREMENT.length - this.skip).subarray(0, passed), i);
        this.skip -= passed;
        i += passed;
        if (this.skip === 0) this.isReset = false;
        continue;
      }
      this.header(bytes, i);
      i++;
    }
  }

  private header(bytes: Uint8Array, i: number): void {
    const byte = bytes[i]!;
    if (this.at < 3) this.length = (this.at === 0 ? 0 : this.length * 256) + byte;
    // A frame of another length is malformed. The server rejects it.
    if (this.at === 3 && byte === RST_STREAM && this.length === INCREMENT.length) {
      this.isReset = true;
      bytes[i] = WINDOW_UPDATE;
    }
    if (++this.at < HEADER_LENGTH) return;
    this.at = 0;
    this.skip = this.length;
  }
}

/**
 * Relays the connection of a client to the server, without its cancellations. Clients cancel every read that they do not
 * read to its end, as Python's does after its first row. Node considers 1,000 of these, and 33 more for each second, an
 * attack (CVE-2023-44487), counts them also on streams that have ended, and closes the connection with
 * GOAWAY(INTERNAL_ERROR). Node 20 has no option for it. This server does not need protection against strangers.
 */
export const relay = (client: Socket, server: Socket): void => {
  const filter = new CancelFilter();
  client.on('data', (bytes: Buffer) => {
    filter.apply(bytes);
    if (!server.write(bytes)) client.pause();
  });
  server.on('drain', () => client.resume());
  client.on('end', () => server.end());
  server.pipe(client);
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    // The end of the connections reports the error to both sides.
    socket.on('error', () => {});
    socket.on('close', () => other.destroy());
  }
};
