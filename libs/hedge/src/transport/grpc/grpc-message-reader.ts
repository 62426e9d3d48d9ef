/** One byte for compression, four for the length. */
const PREFIX_BYTES = 5;

/**
 * Splits the bytes of a gRPC call into messages. Bytes are copied into the message as they arrive, so that neither an
 * incomplete nor a complete message keeps more memory alive than its own length. Pure.
 */
export class GrpcMessageReader {
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixed = 0;
  #message: Buffer | undefined;
  #filled = 0;
  readonly #chunks: Buffer[] = [];

  /** @param allows whether the peer may send a message of this length. Called when the prefix has arrived. */
  constructor(private readonly allows: (length: number) => boolean) {}

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
  }

  /**
   * The next message, or undefined while none is complete.
   * @throws Error when the peer violates the protocol, or the message is too long.
   */
  next(): Buffer | undefined {
    for (let chunk = this.#chunks.shift(); chunk !== undefined; chunk = this.#chunks.shift()) {
      const rest = this.#consume(chunk);
      if (rest.byteLength > 0) this.#chunks.unshift(rest);
      const message = this.#message;
      if (message === undefined || this.#filled < message.byteLength) continue;
      this.#message = undefined;
      this.#prefixed = 0;
      this.#filled = 0;
      return message;
    }
    return undefined;
  }

  /** @returns the rest of the chunk. */
  #consume(chunk: Buffer): Buffer {
    if (this.#message === undefined) {
      const copied = chunk.copy(this.#prefix, this.#prefixed, 0, PREFIX_BYTES - this.#prefixed);
      this.#prefixed += copied;
      if (this.#prefixed === PREFIX_BYTES) this.#message = this.#begin();
      return chunk.subarray(copied);
    }
    const copied = chunk.copy(this.#message, this.#filled);
    this.#filled += copied;
    return chunk.subarray(copied);
  }

  #begin(): Buffer {
    if (this.#prefix[0] !== 0) throw new Error('it sent a compressed message');
    const length = this.#prefix.readUInt32BE(1);
    if (!this.allows(length)) throw new Error(`it sent a message of ${length} bytes, which is more than the limit`);
    return Buffer.allocUnsafe(length);
  }
}
