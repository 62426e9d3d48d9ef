import type { Instant } from '../../common/clock.js';
import type { Term } from '../lease-contender.core.js';

// The layout: three 32-bit words, then from the third 64-bit word on the number of the last sent renewal and two records of
// an acknowledged renewal (number, mono, wall).
const CURRENT = 0;
const SUPERSEDED = 1;
const DROPPED = 2;
const SENT = 2;
const RECORDS = 3;
const RECORD_LENGTH = 3;
const BYTES = (RECORDS + 2 * RECORD_LENGTH) * 8;

/**
 * One term of this process in memory that the main thread and the renewal thread share: so the main thread reads the last
 * acknowledged renewal also while its event loop is blocked. Each word has one writer. Each term has a memory of its own,
 * so a renewal of an earlier term cannot be mistaken for one of a later term.
 *
 * The renewal thread writes a record into the half that is not current, and then makes it current by an atomic store. So a
 * reader never sees half of a record: one that is overtaken by two renewals, a third of a lease apart, reads again.
 * Times are those of `systemClock`, which all threads share.
 */
export class SharedTerm {
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  #read: { readonly current: number; readonly renewal: Pick<Term, 'renewals' | 'validSince'> } | undefined;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.#words = new Int32Array(memory);
    this.#numbers = new Float64Array(memory);
  }

  // The main thread

  /** The last acknowledged renewal; undefined before the first. */
  renewed(): Pick<Term, 'renewals' | 'validSince'> | 'superseded' | undefined {
    if (Atomics.load(this.#words, SUPERSEDED) === 1) return 'superseded';
    for (;;) {
      const current = Atomics.load(this.#words, CURRENT);
      if (current === 0 || this.#read?.current === current) return this.#read?.renewal;
      const at = recordAt(current);
      const [renewal = 0, mono = 0, wall = 0] = this.#numbers.subarray(at, at + RECORD_LENGTH);
      if (Atomics.load(this.#words, CURRENT) !== current) continue;
      this.#read = { current, renewal: { renewals: BigInt(renewal), validSince: { mono, wall } } };
    }
  }

  /** The term is over: no renewal begins from now on. */
  drop(): void {
    Atomics.store(this.#words, DROPPED, 1);
  }

  /** The number of the last renewal that was sent. The next one has a higher number, also if another thread sends it. */
  get lastSent(): number {
    return this.#numbers[SENT] ?? 0;
  }

  // The renewal thread

  get dropped(): boolean {
    return Atomics.load(this.#words, DROPPED) === 1;
  }

  /** To call before the renewal is sent. */
  sending(renewal: number): void {
    this.#numbers[SENT] = renewal;
  }

  acknowledged(renewal: number, { mono, wall }: Instant): void {
    const next = Atomics.load(this.#words, CURRENT) + 1;
    this.#numbers.set([renewal, mono, wall], recordAt(next));
    Atomics.store(this.#words, CURRENT, next);
  }

  supersede(): void {
    Atomics.store(this.#words, SUPERSEDED, 1);
  }
}

function recordAt(current: number): number {
  return RECORDS + (current % 2) * RECORD_LENGTH;
}
