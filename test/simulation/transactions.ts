import type { World } from './world.js';

/** A call must wait until an open transaction has ended. It fails when that takes longer than the timeout. */
export class LockWait extends Error {
  constructor(readonly timeoutMs = Infinity) {
    super('waits for a lock');
  }
}

/**
 * A transaction of the user's code, as its session in the database sees it: each statement takes effect at an instant
 * of its own. It ends when it commits, when a statement fails, when the session ends, or when it has fenced and then
 * stands idle for too long (`idle_in_transaction_session_timeout`).
 */
export class SimulatedTransaction {
  #open = true;
  #bounded = false;
  #statements = 0;
  readonly #writes: (() => void)[] = [];
  readonly #atEnd: (() => void)[] = [];

  constructor(
    protected readonly world: World,
    protected readonly idleMs: number,
  ) {}

  get isOpen(): boolean {
    return this.#open;
  }

  /** @param effect visible from the commit on */
  write(effect: () => void): boolean {
    return this.run(() => {
      this.#writes.push(effect);
      return true;
    });
  }

  /** From here on the idle time is bounded. @param lock returns false when the holder was replaced. */
  fence(lock: () => boolean): boolean {
    this.#bounded = true;
    return this.run(lock);
  }

  /** @returns false when the transaction had ended before */
  commit(): boolean {
    if (!this.#open) return false;
    for (const effect of this.#writes) effect();
    this.#end();
    return true;
  }

  abort(): void {
    if (this.#open) this.#end();
  }

  /** Frees a lock. */
  onEnd(free: () => void): void {
    this.#atEnd.push(free);
  }

  /** A statement that fails aborts the transaction, and so does any statement after its end. */
  protected run(statement: () => boolean): boolean {
    if (!this.#open) return false;
    if (!statement()) {
      this.abort();
      return false;
    }
    this.#statements += 1;
    const count = this.#statements;
    if (this.#bounded) {
      this.world.after(this.idleMs, () => {
        if (!this.#open || this.#statements !== count) return;
        this.world.count('transactions: ended when idle');
        this.idled();
      });
    }
    return true;
  }

  protected idled(): void {
    this.abort();
  }

  protected free(): void {
    for (const free of this.#atEnd.splice(0)) free();
  }

  #end(): void {
    this.#open = false;
    this.free();
  }
}
