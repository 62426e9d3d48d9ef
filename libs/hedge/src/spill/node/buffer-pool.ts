import { onAbort } from '../../common/async/on-abort.js';
import { HedgeError } from '../../common/errors.js';
import { GcPressure } from '../../common/gc-pressure.js';
import type { Budget } from './tier.js';
import type { IdleBuffers } from './idle-buffers.js';
import type { FrameBuffer, FrameBuffers, BufferLease } from './storage.js';

/** Larger frames cost less per byte; with smaller frames, more of them are in flight at once. */
const LARGEST_FRAME = 1024 * 1024;
const SMALLEST_FRAME = 64 * 1024;
const MIN_BUFFERS = 8;

interface Waiting {
  readonly bytes: number;
  grant(): void;
}

/** The size of the frames of a pod with this much memory for frames in flight. */
export function frameBytesFor(capacity: number): number {
  const fitting = 2 ** Math.floor(Math.log2(capacity / MIN_BUFFERS));
  return Math.min(LARGEST_FRAME, Math.max(SMALLEST_FRAME, fitting));
}

/** Leases memory for frames in flight. Callers wait in the order of their calls. */
export class BufferPool implements FrameBuffers {
  readonly frameBytes: number;
  readonly #waiting = new Set<Waiting>();
  readonly #gcPressure = new GcPressure();

  constructor(
    private readonly budget: Budget,
    private readonly idle: IdleBuffers,
  ) {
    this.frameBytes = idle.bufferBytes;
  }

  get capacity(): number {
    return this.budget.limit;
  }

  acquire(signal?: AbortSignal): Promise<FrameBuffer> {
    return this.#enqueue(this.frameBytes, signal, () => {
      // Not from Node's shared pool, because a kept frame would hold the whole pool.
      const bytes = this.idle.take() ?? this.#allocate();
      return { bytes, ...this.#lease(this.frameBytes, bytes) };
    });
  }

  async claim(bytes: number, signal?: AbortSignal): Promise<BufferLease> {
    if (bytes > this.capacity) {
      throw new HedgeError(
        'PAYLOAD_TOO_LARGE',
        `A frame of ${bytes} bytes exceeds the ${this.capacity} bytes that this pod reserves for frames in flight. Raise \`spill.memory\` of this pod.`,
      );
    }
    return this.#enqueue(bytes, signal, () => this.#lease(bytes));
  }

  #allocate(): Buffer {
    this.#gcPressure.record(this.frameBytes);
    return Buffer.allocUnsafeSlow(this.frameBytes);
  }

  #enqueue<T>(bytes: number, signal: AbortSignal | undefined, grant: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const leave = (): void => {
        this.#waiting.delete(waiting);
        reject(signal?.reason as Error);
        // The bytes that it waited for may be enough for the callers behind it.
        this.#serve();
      };
      const waiting = {
        bytes,
        grant: () => {
          stopListening?.();
          resolve(grant());
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
      this.idle.shrinkToRoom();
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
