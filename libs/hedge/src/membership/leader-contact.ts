import { shortestElapsed, type Instant } from '../common/clock.js';

/**
 * A member's contact with its leader: the member sends heartbeats, and the leader sends answers and views. Pure.
 *
 * A leader of an older version does not answer heartbeats, and is silent while its view stays the same. Its silence
 * counts only until its first view.
 */
export class LeaderContact {
  #heardAt: Instant | undefined;
  #checkedAt: Instant | undefined;
  #silenceCounts = true;
  #lost = false;

  constructor(private readonly timeoutMs: number) {}

  /** The leader was not heard for the whole timeout. */
  get lost(): boolean {
    return this.#lost;
  }

  /** A new leader was elected, and has sent nothing yet. True when the contact with the last one was lost. */
  begin(now: Instant): boolean {
    this.#heardAt = this.#checkedAt = now;
    this.#silenceCounts = true;
    return this.#setLost(false);
  }

  /** There is no leader to contact: nobody leads, or this member does. */
  end(): void {
    this.#heardAt = undefined;
    this.#lost = false;
  }

  /**
   * The leader sent something.
   * @param answers the leader answers heartbeats
   * @returns whether the contact was lost before
   */
  heard(answers: boolean, now: Instant): boolean {
    this.#heardAt = now;
    this.#silenceCounts = answers;
    return this.#setLost(false);
  }

  /** To call once per heartbeat. True when the contact has just been lost. */
  check(now: Instant): boolean {
    const { timeoutMs } = this;
    // After a stall, this process has not read yet what the leader sent meanwhile.
    const stoodStill =
      this.#checkedAt !== undefined && shortestElapsed(this.#checkedAt, now) > timeoutMs / 2 && !this.#lost;
    this.#checkedAt = now;
    if (this.#heardAt === undefined || !this.#silenceCounts) return false;
    if (shortestElapsed(this.#heardAt, now) < timeoutMs) return false;
    if (stoodStill) {
      this.#heardAt = { ...now, mono: now.mono - timeoutMs / 2 };
      return false;
    }
    return !this.#setLost(true);
  }

  /** @returns the value before */
  #setLost(lost: boolean): boolean {
    const before = this.#lost;
    this.#lost = lost;
    return before;
  }
}
