import type { Instant } from '../common/clock.js';
import { LeaseContender, type Term } from '../lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput, LeaseHolder } from '../lease/lease-contender.messages.js';
import { FairnessBackoff } from './fairness-backoff.js';
import type { LockSettings, LockEffect, LockInput } from './lock.messages.js';

/**
 * The state machine of one lock in one process: a queue of its callers, first come, first served, and one
 * `LeaseContender` for all of them. Pure; `LockManager` performs its effects.
 *
 * A round ends when the lock is released. The next round begins with a new contender. Answers to calls of an earlier
 * round are ignored, so that none can revive or extend a later term (L3).
 *
 * @example
 * const machine = new LockStateMachine({ self, timing, observes, random: Math.random });
 * machine.step({ type: 'wait', waiter: 1, once: false }, clock.now()); // [{ type: 'call', call: { type: 'acquire' … } }]
 */
export class LockStateMachine {
  #round = 0;
  #contender: LeaseContender | undefined;
  #stopping = false;
  #waiting: { readonly waiter: number; readonly once: boolean }[] = [];
  #held: bigint | undefined;
  #releasing: bigint | undefined;
  readonly #fairness: FairnessBackoff;
  /** When the next round begins, once a caller waits. */
  #nextRoundAt: number | undefined;
  #contenderWakesAt: number | undefined;
  #holder: LeaseHolder | undefined;
  #failing = false;
  #waitsSince: number | undefined;
  #effects: LockEffect[] = [];

  constructor(private readonly settings: LockSettings) {
    this.#fairness = new FairnessBackoff(settings.timing);
  }

  /** The term of the caller that holds the lock, whether or not it is still valid: check it with `holdsLease`. */
  get term(): Term | undefined {
    return this.#held === undefined ? undefined : this.#contender?.currentTerm;
  }

  /** The holder of the lock, as last read while a caller of this process waited. */
  get holder(): LeaseHolder | undefined {
    return this.#holder;
  }

  /** The database did not answer the last call. */
  get failing(): boolean {
    return this.#failing;
  }

  /**
   * Since when this process waits for a lock that another holds, in monotonic time. Undefined when it does not, or does not
   * reach the database: then it must not be chosen as the next holder, and has lost its place.
   */
  get waitsSince(): number | undefined {
    return this.#held === undefined && !this.#stopping ? this.#waitsSince : undefined;
  }

  /** Monotonic time of the next `tick`. */
  get wakeAt(): number | undefined {
    if (this.#contender !== undefined) return this.#contenderWakesAt;
    if (this.#waiting.length > 0) return this.#nextRoundAt;
    return this.#fairness.keepUntil;
  }

  /** No database call is in flight or due, and the lock is not held. */
  get isAtRest(): boolean {
    return this.#contender === undefined;
  }

  /** No caller of this process holds or wants the lock, and no state must be kept for it. */
  isIdle(now: Instant): boolean {
    return this.#contender === undefined && this.#waiting.length === 0 && now.mono >= this.#fairness.keepUntil;
  }

  step(input: LockInput, now: Instant): readonly LockEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    if (this.#contender === undefined) this.#beginRound(now);
    else if (this.#held === undefined && this.#waiting.length === 0) this.#endRound(now);
    return this.#effects;
  }

  #handle(input: LockInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
      case 'lapsed':
      case 'queued':
        return this.#feed(input, now);
      case 'wait': {
        const { waiter, once } = input;
        const taken = this.#held !== undefined || this.#waiting.length > 0;
        if (once && taken) this.#effects.push({ type: 'refused', waiter, failed: false });
        else this.#waiting.push({ waiter, once });
        return;
      }
      case 'cancel-wait':
        this.#waiting = this.#waiting.filter(({ waiter }) => waiter !== input.waiter);
        return;
      case 'release':
        if (this.#held !== input.token) return;
        this.#held = undefined;
        this.#releasing = input.token;
        return this.#endRound(now);
      case 'released-elsewhere':
        return this.#feed({ ...input, type: 'lease-released' }, now);
      case 'answered':
        return input.round === this.#round ? this.#answered(input.answer, now) : undefined;
    }
  }

  #answered(answer: ContenderInput, now: Instant): void {
    if (answer.type === 'read') this.#failing = answer.record === undefined;
    if (answer.type === 'acquired') this.#failing = answer.result === undefined;
    if (this.#failing) this.#waitsSince = undefined;
    else if (answer.type === 'read' || (answer.type === 'acquired' && answer.result?.acquired === false)) {
      this.#waitsSince ??= now.mono;
    }
    this.#feed(answer, now);
    if (answer.type !== 'acquired' || answer.result?.acquired === true) return;
    const triesAgain = this.#effects.some((effect) => effect.type === 'call' && effect.call.type === 'acquire');
    if (triesAgain) return;
    const failed = answer.result === undefined;
    for (const { waiter, once } of this.#waiting) if (once) this.#effects.push({ type: 'refused', waiter, failed });
    this.#waiting = this.#waiting.filter(({ once }) => !once);
  }

  #beginRound(now: Instant): void {
    if (this.#waiting.length === 0) return;
    this.#nextRoundAt ??= now.mono + this.#fairness.pauseMs(now.mono, this.settings.random());
    if (now.mono < this.#nextRoundAt) return;
    this.#nextRoundAt = undefined;
    this.#round += 1;
    this.#stopping = false;
    this.#waitsSince = undefined;
    const habits = { campaigns: true, checksSelf: false, readsFirst: false };
    this.#contender = new LeaseContender({ ...this.settings, ...habits });
    this.#feed({ type: 'tick' }, now);
  }

  #endRound(now: Instant): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#feed({ type: 'stop' }, now);
  }

  #feed(input: ContenderInput, now: Instant): void {
    if (this.#contender === undefined) return;
    this.#contenderWakesAt = undefined;
    let drained: bigint | undefined;
    for (const effect of this.#contender.step(input, now)) {
      if (effect.type === 'left') return this.#left(now);
      if (effect.type === 'drain') drained = effect.token;
      else this.#forward(effect, now);
    }
    // At once, because the caller that held the lock has released it.
    if (drained !== undefined) this.#feed({ type: 'drained', token: drained }, now);
  }

  #forward(effect: Exclude<ContenderEffect, { readonly type: 'left' | 'drain' }>, now: Instant): void {
    switch (effect.type) {
      case 'wake':
        this.#contenderWakesAt = now.mono + effect.afterMs;
        return;
      case 'read':
      case 'acquire':
      case 'renew':
      case 'release':
        this.#effects.push({ type: 'call', round: this.#round, call: effect });
        return;
      case 'lease-acquired':
        if (this.settings.renewed !== undefined) this.#effects.push({ ...effect, type: 'acquired' });
        return this.#grant(effect.token, now);
      case 'lease-lost':
        if (this.settings.renewed !== undefined) this.#effects.push({ type: 'ended', token: effect.token });
        if (this.#held !== effect.token) return;
        this.#held = undefined;
        this.#fairness.lost();
        this.#effects.push({ type: 'lost', token: effect.token, reason: effect.reason });
        return;
      case 'announce-released':
        this.#effects.push(effect);
        return;
      case 'holder-changed':
        this.#holder = effect.holder;
        return;
      case 'check-self':
      // Nobody announces the renewals of a lock.
      case 'announce-renewed':
      case 'observe-renewal':
        return;
    }
  }

  #grant(token: bigint, now: Instant): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#held = token;
    this.#waitsSince = undefined;
    this.#fairness.acquired(now.mono);
    this.#effects.push({ type: 'granted', waiter: next.waiter, token });
  }

  /** Ends the round. A lock does not need the reads that a contender makes after it has left. */
  #left(now: Instant): void {
    this.#contender = undefined;
    this.#holder = undefined;
    const token = this.#releasing;
    if (token !== undefined) {
      this.#releasing = undefined;
      this.#fairness.released(now.mono);
      this.#effects.push({ type: 'released', token });
    }
    this.#beginRound(now);
  }
}
