import type { Instant } from '../common/clock.js';

/**
 * Tracks the one call of a contender that counts. Results of older attempts are ignored, so a late success of a
 * renewal revives no lost lease (L3).
 */
export class AttemptTracker<Type extends string> {
  #current: { readonly type: Type; readonly attempt: number; readonly startedAt: Instant } | undefined;
  #attempts = 0;

  /** The number of the last call that began. It rises with each call. */
  get attempts(): number {
    return this.#attempts;
  }

  /** The type of the call in flight. */
  get type(): Type | undefined {
    return this.#current?.type;
  }

  begin(type: Type, now: Instant): number {
    this.#attempts += 1;
    this.#current = { type, attempt: this.#attempts, startedAt: now };
    return this.#attempts;
  }

  /** The call waited in a queue until now: its time starts again. */
  restart(attempt: number, now: Instant): void {
    if (this.#current?.attempt === attempt) this.#current = { ...this.#current, startedAt: now };
  }

  /** Ends the call in flight and returns its start. Returns undefined for an older attempt. */
  end(type: Type, attempt: number): Instant | undefined {
    const call = this.#current;
    if (call === undefined || call.type !== type || call.attempt !== attempt) return undefined;
    this.#current = undefined;
    return call.startedAt;
  }

  forget(): void {
    this.#current = undefined;
  }
}
