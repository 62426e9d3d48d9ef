import type { Instant } from '../common/clock.js';

/**
 * The one call of a contender that counts: a result of an older attempt is not looked at, so a late success
 * of a renewal revives nothing (L3).
 */
export class AttemptTracker<Type extends string> {
  #current: { readonly type: Type; readonly attempt: number; readonly startedAt: Instant } | undefined;
  #attempts = 0;

  /** Number of the last call begun; rises with each. */
  get attempts(): number {
    return this.#attempts;
  }

  /** What is under way. */
  get type(): Type | undefined {
    return this.#current?.type;
  }

  begin(type: Type, now: Instant): number {
    this.#attempts += 1;
    this.#current = { type, attempt: this.#attempts, startedAt: now };
    return this.#attempts;
  }

  /** The call waited until now before it was made. */
  restart(attempt: number, now: Instant): void {
    if (this.#current?.attempt === attempt) this.#current = { ...this.#current, startedAt: now };
  }

  /** When the call began, if it is the one that counts; then none is under way. */
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
