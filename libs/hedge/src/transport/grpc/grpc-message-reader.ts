/** One byte for compression, four for the length. */
const PREFIX_BYTES = 5;

/**
 * Takes the bytes of a gRPC call apart into messages. A message is copied into memory of its own as its bytes come, so
 * that neither a part of one nor what is kept of one holds more than its length. Pure.
 */
export class GrpcMessageReader {
  private readonly prefix = Buffer.alloc(PREFIX_BYTES);
  private prefixed = 0;
  private message: Buffer | undefined;
  private filled = 0;
  private readonly chunks: Buffer[] = [];

  /** @param allows whether a message of that length may come; asked when its prefix has. */
  constructor(private readonly allows: (length: number) => boolean) {}

  push(chunk: Buffer): void {
    this.chunks.push(chunk);
  }

  /**
   * The next message, or undefined while there is no whole one.
   * @throws Error when the peer does not keep to the protocol, or the message is too long.
   */
  next(): Buffer | undefined {
    for (let chunk = this.chunks.shift(); chunk !== undefined; chunk = this.chunks.shift()) {
      const rest = this.take(chunk);
      if (rest.byteLength > 0) this.chunks.unshift(rest);
      const { message } = this;
      if (message === undefined || this.filled < message.byteLength) continue;
      this.message = undefined;
      this.prefixed = 0;
      this.filled = 0;
      return message;
    }
    return undefined;
  }

  /** @returns what is left of it. */
  private take(chunk: Buffer): Buffer {
    if (this.message === undefined) {
      const taken = chunk.copy(this.prefix, this.prefixed, 0, PREFIX_BYTES - this.prefixed);
      this.prefixed += taken;
      if (this.prefixed === PREFIX_BYTES) this.message = this.begin();
      return chunk.subarray(taken);
    }
    const taken = chunk.copy(this.message, this.filled);
    this.filled += taken;
    return chunk.subarray(taken);
  }

  private begin(): Buffer {
    if (this.prefix[0] !== 0) throw new Error('it sent a compressed message');
    const length = this.prefix.readUInt32BE(1);
    if (!this.allows(length)) throw new Error(`it sent a message of ${length} bytes, which is more than is allowed`);
    return Buffer.allocUnsafe(length);
  }
}
