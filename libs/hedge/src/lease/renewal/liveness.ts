/** When the event loop of the main thread last turned, in memory that the renewal thread reads. */
export class Liveness {
  readonly #microseconds: BigInt64Array;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.#microseconds = new BigInt64Array(memory);
  }

  /** To call on the main thread, in each turn of a timer, with the monotonic time. */
  turned(monoMs: number): void {
    Atomics.store(this.#microseconds, 0, BigInt(Math.round(monoMs * 1e3)));
  }

  /** Monotonic time of `systemClock`. */
  get turnedAt(): number {
    return Number(Atomics.load(this.#microseconds, 0)) / 1e3;
  }
}
