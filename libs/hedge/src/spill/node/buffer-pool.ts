import { HedgeError } from '../../common/errors.js';
import { Budget } from './budget.js';
import type { FrameBuffer, FrameBuffers, Loan } from './storage.js';

/** Larger frames cost less per byte; smaller ones let more of them be on their way at once. */
const LARGEST_FRAME = 1024 * 1024;
const SMALLEST_FRAME = 64 * 1024;
const BUFFERS_AT_LEAST = 8;

interface Waiting {
  readonly bytes: number;
  grant(): void;
}

/** Lends memory for frames on their way, first come first served. Idle buffers are in the budget too. */
export class BufferPool implements FrameBuffers {
  readonly frameBytes: number;
  readonly #budget: Budget;
  #idle: Buffer[] = [];
  #waiting: Waiting[] = [];

  constructor(readonly capacity: number) {
    this.#budget = new Budget(capacity);
    const fitting = 2 ** Math.floor(Math.log2(capacity / BUFFERS_AT_LEAST));
    this.frameBytes = Math.min(LARGEST_FRAME, Math.max(SMALLEST_FRAME, fitting));
  }

  get used(): number {
    return this.#budget.used + this.#idle.length * this.frameBytes;
  }

  take(signal?: AbortSignal): Promise<FrameBuffer> {
    return this.#inLine(this.frameBytes, signal, () => {
      // Not out of Node's shared pool, of which a kept frame would hold more than itself.
      const bytes = this.#idle.pop() ?? Buffer.allocUnsafeSlow(this.frameBytes);
      return { bytes, ...this.#loan(this.frameBytes, bytes) };
    });
  }

  async claim(bytes: number, signal?: AbortSignal): Promise<Loan> {
    if (bytes > this.capacity) {
      throw new HedgeError(
        'PAYLOAD_TOO_LARGE',
        `A frame of ${bytes} bytes is over the ${this.capacity} that this pod has for frames on their way.`,
      );
    }
    return this.#inLine(bytes, signal, () => this.#loan(bytes));
  }

  /** Lets go of the memory that nobody uses. */
  trim(): void {
    this.#idle = [];
  }

  #inLine<T>(bytes: number, signal: AbortSignal | undefined, lend: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const leave = (): void => {
        this.#waiting = this.#waiting.filter((other) => other !== waiting);
        reject(signal?.reason as Error);
        // What it waited for may be enough for those behind it.
        this.#serve();
      };
      const waiting = {
        bytes,
        grant: () => {
          signal?.removeEventListener('abort', leave);
          resolve(lend());
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(waiting);
      this.#serve();
    });
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#budget.take(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      next.grant();
      while (this.used > this.capacity) this.#idle.pop();
    }
  }

  #loan(bytes: number, buffer?: Buffer): Loan {
    let open = true;
    const end = (idle?: Buffer): void => {
      if (!open) return;
      open = false;
      this.#budget.give(bytes);
      if (idle !== undefined) this.#idle.push(idle);
      this.#serve();
    };
    return { recycle: () => end(buffer), forget: () => end() };
  }
}
