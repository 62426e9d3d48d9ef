/** Monotonic time at which the event loop of the main thread last turned, in memory that its other threads read. */
export class SharedLife {
  readonly #microseconds: BigInt64Array;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.#microseconds = new BigInt64Array(memory);
  }

  /** To call on the main thread, in each turn of a timer. */
  beat(monoMs: number): void {
    Atomics.store(this.#microseconds, 0, BigInt(Math.round(monoMs * 1e3)));
  }

  /** Milliseconds of `systemClock`. */
  get beatAt(): number {
    return Number(Atomics.load(this.#microseconds, 0)) / 1e3;
  }
}
