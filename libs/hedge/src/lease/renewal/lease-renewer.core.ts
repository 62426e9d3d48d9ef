import { MOST_RENEWALS, type RenewResult } from '../../database/lease-table.js';
import { backoffMs } from '../../common/backoff.js';
import type { Instant } from '../../common/clock.js';
import { holdsLease } from '../lease-contender.core.js';
import type { LeaseTiming } from '../lease-contender.messages.js';
import { renewalAt, renewalPhaseMs } from '../polling-pace.js';

export interface RenewerSettings {
  readonly timing: Pick<LeaseTiming, 'leaseMs' | 'marginMs' | 'retryMs'>;
  /** No renewal begins when the event loop of the main thread has not turned for this long. */
  readonly maxStallMs: number;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** A term whose lease is renewed until `drop`. */
export interface TermToRenew {
  /** Names the term in this process. */
  readonly id: number;
  /** The start of the last acknowledged acquisition or renewal. */
  readonly validSince: Instant;
  /** The number of the last renewal that may have been sent; 0 before the first. */
  readonly lastRenewal: number;
  /** Renews together with others: locks, and not the election. */
  readonly batched: boolean;
}

export type RenewerInput =
  | { readonly type: 'tick' }
  | { readonly type: 'hold'; readonly term: TermToRenew }
  | { readonly type: 'drop'; readonly id: number }
  /** The answer to a `renew`: one result for each renewal, in order; absent for one that failed. */
  | { readonly type: 'answered'; readonly call: number; readonly results: readonly (RenewResult | undefined)[] };

export type RenewerEffect =
  /** One call to the database. Terms that the main thread has dropped meanwhile are left out. */
  | {
      readonly type: 'renew';
      readonly call: number;
      readonly renewals: readonly SentRenewal[];
      readonly batched: boolean;
    }
  /** A renewal was acknowledged. The term is valid since its start. */
  | { readonly type: 'renewed'; readonly id: number; readonly renewal: number; readonly validSince: Instant }
  /** The database reports that the lease no longer belongs to the term. Final. */
  | { readonly type: 'superseded'; readonly id: number }
  /** Send a `tick` after that time. Replaces any earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number };

export interface SentRenewal {
  readonly id: number;
  /** `Renewal.renewals`. */
  readonly renewal: number;
}

interface ScheduledTerm extends TermToRenew {
  validSince: Instant;
  lastRenewal: number;
  dueAt: number;
  failures: number;
  inFlight: boolean;
}

/**
 * Renews the terms of one process on a thread of its own, while the main thread may be blocked. It is the only writer of
 * their renewals: the main thread acquires and releases, and makes no renewal. Pure; `RenewalThread` performs its effects.
 *
 * - A term counts from the start of an acknowledged renewal (L2). An answer that arrives after the term has expired
 *   revives nothing (L3).
 * - No renewal begins when the event loop of the main thread has not turned for `maxStallMs`. So a process that hangs for ever loses its
 *   leases at most `maxStallMs` plus one lease after its last turn of the event loop.
 *
 * @example
 * const renewer = new LeaseRenewer({ timing, maxStallMs: 16_000, random: Math.random });
 * renewer.step({ type: 'hold', term }, clock.now(), lastTurn); // [{ type: 'wake', afterMs: 2666 }]
 */
export class LeaseRenewer {
  readonly #terms = new Map<number, ScheduledTerm>();
  /** The calls in flight: their starts and their renewals. */
  readonly #calls = new Map<number, { readonly startedAt: Instant; readonly renewals: readonly SentRenewal[] }>();
  readonly #phaseMs: number;
  #lastCall = 0;
  #effects: RenewerEffect[] = [];

  constructor(private readonly settings: RenewerSettings) {
    this.#phaseMs = renewalPhaseMs(settings.timing.leaseMs, settings.random);
  }

  /** @param turnedAt monotonic time at which the event loop of the main thread last turned. */
  step(input: RenewerInput, now: Instant, turnedAt: number): readonly RenewerEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    for (const [id, term] of this.#terms) if (!holdsLease(term, this.settings.timing, now)) this.#terms.delete(id);
    this.#renewDue(now, turnedAt);
    let wakeAt = Infinity;
    for (const { inFlight, dueAt } of this.#terms.values()) if (!inFlight) wakeAt = Math.min(wakeAt, dueAt);
    if (wakeAt < Infinity) this.#effects.push({ type: 'wake', afterMs: Math.max(0, wakeAt - now.mono) });
    return this.#effects;
  }

  #handle(input: RenewerInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
        return;
      case 'hold': {
        const { term } = input;
        this.#terms.set(term.id, { ...term, dueAt: this.#nextAt(term, term.validSince), failures: 0, inFlight: false });
        return;
      }
      case 'drop':
        this.#terms.delete(input.id);
        return;
      case 'answered':
        return this.#answered(input.call, input.results, now);
    }
  }

  #answered(number: number, results: readonly (RenewResult | undefined)[], now: Instant): void {
    const call = this.#calls.get(number);
    if (call === undefined) return;
    this.#calls.delete(number);
    const jitter = this.settings.random();
    for (const [index, { id, renewal }] of call.renewals.entries()) {
      const term = this.#terms.get(id);
      // The term has expired meanwhile, so the answer counts no more (L3).
      if (term === undefined || !holdsLease(term, this.settings.timing, now)) continue;
      term.inFlight = false;
      const result = results[index];
      if (result === undefined) {
        const { retryMs } = this.settings.timing;
        term.failures += 1;
        term.dueAt = now.mono + backoffMs(term.failures, retryMs, 4 * retryMs, jitter);
      } else if (result.renewed) {
        term.failures = 0;
        term.validSince = this.validFrom(call.startedAt, now);
        term.dueAt = this.#nextAt(term, call.startedAt);
        this.#effects.push({ type: 'renewed', id, renewal, validSince: term.validSince });
      } else {
        this.#terms.delete(id);
        this.#effects.push({ type: 'superseded', id });
      }
    }
  }

  /** The start of an acknowledged call, and not its end: the database counts from an instant between the two (L2). */
  protected validFrom(startedAt: Instant, _answeredAt: Instant): Instant {
    return startedAt;
  }

  protected stalled(now: Instant, turnedAt: number): boolean {
    return now.mono - turnedAt >= this.settings.maxStallMs;
  }

  /** The election has a call of its own, so that contention for locks cannot delay it. */
  #renewDue(now: Instant, turnedAt: number): void {
    const due = [...this.#terms.values()].filter(({ inFlight, dueAt }) => !inFlight && dueAt <= now.mono);
    if (due.length === 0) return;
    if (this.stalled(now, turnedAt)) {
      for (const term of due) term.dueAt = now.mono + this.settings.timing.retryMs;
      return;
    }
    for (const term of due) if (!term.batched) this.#renew([term], false, now);
    const together = due.filter(({ batched }) => batched);
    while (together.length > 0) this.#renew(together.splice(0, MOST_RENEWALS), true, now);
  }

  #renew(terms: readonly ScheduledTerm[], batched: boolean, now: Instant): void {
    this.#lastCall += 1;
    const renewals = terms.map((term): SentRenewal => {
      term.inFlight = true;
      term.lastRenewal += 1;
      return { id: term.id, renewal: term.lastRenewal };
    });
    this.#calls.set(this.#lastCall, { startedAt: now, renewals });
    this.#effects.push({ type: 'renew', call: this.#lastCall, renewals, batched });
  }

  #nextAt({ batched }: TermToRenew, startedAt: Instant): number {
    return renewalAt(startedAt.mono, this.settings.timing.leaseMs, batched ? this.#phaseMs : undefined);
  }
}
