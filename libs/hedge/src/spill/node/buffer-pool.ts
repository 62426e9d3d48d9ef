import { onAbort } from '../../common/async/on-abort.js';
import { HedgeError } from '../../common/errors.js';
import { GcPressure } from '../../common/gc-pressure.js';
import type { Budget } from './budget.js';
import type { IdleBuffers } from './idle-buffers.js';
import type { FrameBuffer, FrameBuffers, BufferLease } from './storage.js';

/** Larger frames cost less per byte; smaller ones let more of them be on their way at once. */
const LARGEST_FRAME = 1024 * 1024;
const SMALLEST_FRAME = 64 * 1024;
const BUFFERS_AT_LEAST = 8;

interface Waiting {
  readonly bytes: number;
  grant(): void;
}

/** How large the frames of a pod are that has so much memory for frames on their way. */
export function frameBytesFor(capacity: number): number {
  const fitting = 2 ** Math.floor(Math.log2(capacity / BUFFERS_AT_LEAST));
  return Math.min(LARGEST_FRAME, Math.max(SMALLEST_FRAME, fitting));
}

/** Lends memory for frames on their way, first come first served. */
export class BufferPool implements FrameBuffers {
  readonly frameBytes: number;
  readonly #waiting = new Set<Waiting>();
  readonly #scavenging = new GcPressure();

  constructor(
    private readonly budget: Budget,
    private readonly idle: IdleBuffers,
  ) {
    this.frameBytes = idle.bufferBytes;
  }

  get capacity(): number {
    return this.budget.limit;
  }

  take(signal?: AbortSignal): Promise<FrameBuffer> {
    return this.#inLine(this.frameBytes, signal, () => {
      // Not out of Node's shared pool, of which a kept frame would hold more than itself.
      const bytes = this.idle.take() ?? this.#fresh();
      return { bytes, ...this.#lease(this.frameBytes, bytes) };
    });
  }

  async claim(bytes: number, signal?: AbortSignal): Promise<BufferLease> {
    if (bytes > this.capacity) {
      throw new HedgeError(
        'PAYLOAD_TOO_LARGE',
        `A frame of ${bytes} bytes is over the ${this.capacity} that this pod has for frames on their way.`,
      );
    }
    return this.#inLine(bytes, signal, () => this.#lease(bytes));
  }

  #fresh(): Buffer {
    this.#scavenging.record(this.frameBytes);
    return Buffer.allocUnsafeSlow(this.frameBytes);
  }

  #inLine<T>(bytes: number, signal: AbortSignal | undefined, lend: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const leave = (): void => {
        this.#waiting.delete(waiting);
        reject(signal?.reason as Error);
        // What it waited for may be enough for those behind it.
        this.#serve();
      };
      const waiting = {
        bytes,
        grant: () => {
          stopListening?.();
          resolve(lend());
        },
      };
      const stopListening = signal && onAbort(signal, leave);
      this.#waiting.add(waiting);
      this.#serve();
    });
  }

  #serve(): void {
    for (const next of this.#waiting) {
      if (!this.budget.reserve(next.bytes)) return;
      this.#waiting.delete(next);
      next.grant();
      this.idle.fit();
    }
  }

  #lease(bytes: number, buffer?: Buffer): BufferLease {
    let open = true;
    const end = (idle?: Buffer): void => {
      if (!open) return;
      open = false;
      this.budget.release(bytes);
      if (idle !== undefined) this.idle.release(idle);
      this.#serve();
    };
    return { release: () => end(buffer), detach: () => end() };
  }
}
