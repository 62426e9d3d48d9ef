import { backoffMs } from '../../common/backoff.js';
import { HedgeError } from '../../common/errors.js';
import type { SemaphoreRow } from '../../database/permit-table.js';
import { PendingReleases } from './pending-releases.js';
import {
  type GrantedPermit,
  formatPermits,
  holderRows,
  permitRows,
  readState,
  type SemaphoreName,
  type SemaphoreState,
} from './permit-row.js';
import { tooMany } from '../semaphore-arguments.js';
import { foreign, notLeader, notWanted, otherLimit } from '../semaphore-errors.js';
import type { PermitClaim, SemaphoreEffect, SemaphoreInput, SemaphoreOutcome } from './semaphore-queue.messages.js';
import type { SemaphoreTiming } from '../semaphore-timing.js';
import { type Waiter, WaitQueue } from './wait-queue.js';

/** Permits of one semaphore at a time, whatever its limit: the row must stay far below the size limit of a database. */
const MOST_GRANTS = 10_000;

const NO_ROW: SemaphoreState = { limit: 0, version: 0n, held: new Map() };

/** The content of a write that is in flight or in doubt. */
interface Change {
  readonly limit: number;
  readonly held: ReadonlyMap<string, GrantedPermit>;
  readonly grants: readonly Waiter[];
  readonly released: readonly string[];
  readonly resizes: number;
}

/**
 * One semaphore in one term of the leader: its queue, and the decisions about its row. Pure: `step` receives an input
 * and the time, and returns the effects. `SemaphoreServer` (or the simulation) performs them and feeds the results back.
 *
 * - The row is the truth. Every write names the version that it follows and is fenced by the term. So a grant always
 *   follows from the current row, and only the present leader can write it (S1).
 * - There is one write at a time, and inputs that arrive meanwhile go into the next one. So grants share commits, and
 *   released permits are granted again in the same write.
 * - After a write of unknown outcome the row is read again. Callers choose the ids of their permits, so a grant that took
 *   effect is recognised, and one that no caller wants is revoked.
 * - First come, first served, by the time that each caller has waited, also under an earlier leader. A caller that was
 *   not heard lately is passed over and keeps its place.
 * - Permits that were not renewed for their time are revoked. The time of permits that this leader found in the row
 *   begins with its term at the earliest.
 * - Nothing is granted while permits that the row does not show may be valid, because the database was replaced, or because
 *   the row is older than the one that this leader wrote or read last: the database has lost grants (S1).
 */
export class SemaphoreQueue {
  #state: SemaphoreState | undefined;
  /** The row may differ from `#state`, because a write ended without an answer. */
  #inDoubt = true;
  #calling = false;
  #change: Change | undefined;
  readonly #queue = new WaitQueue();
  readonly #releases: PendingReleases;
  #resizes: { readonly ticket: number; readonly limit: number }[] = [];
  /** Renewals that arrived before the row was read. */
  #renewals: Extract<SemaphoreInput, { type: 'renew' }>[] = [];
  /** When each permit was last renewed or claimed in this term. */
  readonly #heard = new Map<string, number>();
  /** Nothing is granted before this time. */
  #graceUntil = -Infinity;
  #failures = 0;
  #writesFail = false;
  #notBefore = -Infinity;
  #changed = false;
  #wakeAt: number | undefined;
  #idleSince: number | undefined;
  #ended: HedgeError | undefined;
  #effects: SemaphoreEffect[] = [];

  /** @param since when the term began, on the clock of `step`. */
  constructor(
    private readonly semaphore: SemaphoreName,
    private readonly timing: SemaphoreTiming,
    protected readonly since: number,
  ) {
    this.#releases = new PendingReleases(semaphore.name, (ticket, outcome) => this.#settle(ticket, outcome));
  }

  /** Callers in the queue. */
  get waiting(): number {
    return this.#queue.size;
  }

  /** The limit and the held permits as this leader read or wrote them last; undefined before its first read. */
  get state(): SemaphoreState | undefined {
    return this.#state;
  }

  /** Since when there are no held permits and no requests; undefined while the semaphore is in use. */
  get idleSince(): number | undefined {
    return this.#idleSince;
  }

  /** @param now milliseconds on any clock that never goes back. */
  step(input: SemaphoreInput, now: number): readonly SemaphoreEffect[] {
    this.#effects = [];
    if (this.#ended === undefined) this.#handle(input, now);
    else if ('ticket' in input && input.type !== 'abandoned') this.#settle(input.ticket, this.#ended);
    if (this.#ended === undefined) this.#schedule(now);
    return this.#effects;
  }

  #handle(input: SemaphoreInput, now: number): void {
    // A leader may learn only during its term that the database has lost permits.
    if ('unseenForMs' in input) this.#graceUntil = Math.max(this.#graceUntil, now + (input.unseenForMs ?? 0));
    switch (input.type) {
      case 'acquire':
        return this.#claimed(input.ticket, input.claim, now);
      case 'abandoned':
        return this.#abandoned(input.ticket);
      case 'release': {
        const waiter = this.#queue.withId(input.id);
        const own = waiter?.claim.holder.incarnation === input.holder.incarnation;
        if (waiter !== undefined && own) this.#drop(waiter, notWanted(this.semaphore.name));
        return this.#release(input.id, input.holder.incarnation, input.ticket);
      }
      case 'renew':
        return this.#renewed(input, now);
      case 'resize':
        this.#resizes.push(input);
        this.#changed = true;
        return;
      case 'unlinked':
        for (const waiter of this.#queue) {
          if (waiter.claim.holder.incarnation === input.holder.incarnation) waiter.heardAt = -Infinity;
        }
        return;
      case 'flush':
        this.#wakeAt = undefined;
        return this.#decide(now);
      case 'read':
        this.#calling = false;
        // A successful read does not show that writes work, as on a full disk: their pauses keep growing.
        if (!this.#writesFail) this.#failures = 0;
        return this.#adopt(input.row, now);
      case 'written':
        this.#calling = false;
        this.#failures = 0;
        this.#writesFail = false;
        if (!input.result.written) return this.#adopt(input.result.row, now);
        this.#committed(input.result.timestamp);
        return this.#decide(now);
      case 'failed':
        return this.#failed(input.error, input.random, now);
      case 'drain':
        for (const { ticket } of this.#queue) {
          this.#settle(ticket, input.error);
          this.#abandoned(ticket);
        }
        return;
      case 'end':
        return this.#end(input.error);
    }
  }

  // Requests

  #claimed(ticket: number, claim: PermitClaim, now: number): void {
    const same = this.#queue.withId(claim.id);
    if (same !== undefined && same.claim.holder.incarnation !== claim.holder.incarnation) {
      return this.#settle(ticket, foreign(this.semaphore.name, claim.id));
    }
    if (same !== undefined) this.#drop(same, notWanted(this.semaphore.name));
    const since = now - claim.waitedMs;
    const waiter: Waiter = { ticket, claim, since, heardAt: now, agreed: same?.agreed ?? false };
    this.#queue.add(waiter);
    this.#heard.set(claim.id, now);
    this.#changed = true;
  }

  #abandoned(ticket: number): void {
    const waiter = this.#queue.withTicket(ticket);
    if (waiter === undefined) return;
    this.#queue.remove(waiter);
    this.#changed = true;
    // A write in flight may grant it already.
    if (this.#change !== undefined) this.#release(waiter.claim.id, waiter.claim.holder.incarnation);
  }

  #release(id: string, incarnation: string, ticket?: number): void {
    this.#releases.add(id, incarnation, ticket);
    this.#changed = true;
  }

  #renewed(input: Extract<SemaphoreInput, { type: 'renew' }>, now: number): void {
    const ids = new Set(input.ids);
    for (const id of ids) this.#heard.set(id, now);
    for (const waiter of this.#queue) {
      if (!ids.has(waiter.claim.id)) continue;
      if (!this.hears(waiter, now)) this.#changed = true;
      waiter.heardAt = now;
    }
    if (this.#state === undefined) {
      this.#renewals.push(input);
      this.#changed = true;
    } else {
      this.#answerRenewal(input, this.#state);
    }
  }

  #answerRenewal({ ticket, ids, holder }: Extract<SemaphoreInput, { type: 'renew' }>, state: SemaphoreState): void {
    const waiting = this.#queue.ids();
    const unknown = ids.filter((id) => {
      if (waiting.has(id)) return false;
      // A permit that a write in flight revokes counts as lost already, whatever the outcome of the write.
      const stays = this.#change === undefined || this.#change.held.has(id);
      return !stays || state.held.get(id)?.holder.incarnation !== holder.incarnation;
    });
    this.#settle(ticket, { type: 'renewed', unknown });
  }

  // Answers of the database

  #adopt(row: SemaphoreRow | undefined, now: number): void {
    const before = this.#state;
    this.#change = undefined;
    try {
      this.#state = row === undefined ? NO_ROW : readState(this.semaphore, row);
    } catch (error) {
      // The next request reads the row again.
      this.#state = undefined;
      for (const ticket of this.#tickets()) this.#settle(ticket, error as HedgeError);
      return this.#forget();
    }
    this.#inDoubt = false;
    // All permits are held, so callers may have waited at the last leader: give them time to ask again.
    if (before === undefined && row !== undefined && countOf(this.#state.held) >= row.limit) {
      this.#graceUntil = Math.max(this.#graceUntil, this.since + this.timing.graceMs);
    }
    // The holders of lost grants may use them for as long as after a renewal that was acknowledged just now.
    if (before !== undefined && this.#state.version < before.version) {
      let validMs = this.timing.permitMs;
      for (const { permitMs } of before.held.values()) validMs = Math.max(validMs, permitMs);
      this.#graceUntil = Math.max(this.#graceUntil, now + validMs);
    }
    for (const renewal of this.#renewals.splice(0)) this.#answerRenewal(renewal, this.#state);
    this.#decide(now);
  }

  #committed(timestamp: bigint): void {
    const change = this.#change;
    if (change === undefined) throw new Error('a result came in, but no write is in flight');
    this.#change = undefined;
    const held = new Map(
      Array.from(change.held, ([id, permit]) => [id, { ...permit, token: permit.token ?? timestamp }]),
    );
    this.#state = { limit: change.limit, version: timestamp, held };
    for (const waiter of change.grants) if (this.#queue.has(waiter)) this.#grant(waiter, this.#state);
    this.#releases.done(change.released);
    for (const { ticket } of this.#resizes.splice(0, change.resizes)) this.#settle(ticket, { type: 'done' });
  }

  #grant(waiter: Waiter, state: SemaphoreState): void {
    const permit = state.held.get(waiter.claim.id);
    if (permit === undefined) throw new Error('granted, and not in the row');
    this.#drop(waiter, { type: 'granted', token: permit.token, permitMs: permit.permitMs });
  }

  #failed(error: unknown, random: number, now: number): void {
    this.#calling = false;
    if (error instanceof HedgeError && error.code === 'LEASE_LOST')
      return this.#end(notLeader(this.semaphore.name, error));
    if (error instanceof HedgeError && error.code === 'INVALID_ARGUMENT' && this.#change !== undefined) {
      // Nothing was written. Without these grants the next write may succeed.
      for (const waiter of this.#change.grants) if (this.#queue.has(waiter)) this.#drop(waiter, error);
    }
    this.#inDoubt = true;
    if (this.#change !== undefined) this.#writesFail = true;
    this.#failures += 1;
    const { retryMs } = this.timing;
    this.#notBefore = now + backoffMs(this.#failures, retryMs, 4 * retryMs, random);
    this.#changed = true;
  }

  #end(error: HedgeError): void {
    this.#ended = error;
    for (const ticket of this.#tickets()) this.#settle(ticket, error);
    this.#forget();
  }

  // Decisions

  #decide(now: number): void {
    if (this.#calling || now < this.#notBefore) return;
    this.#changed = false;
    if (this.#state === undefined || this.#inDoubt) {
      this.#calling = true;
      this.#effects.push({ type: 'read' });
      return;
    }
    const change = this.#next(this.#state, now);
    if (change === undefined) return;
    this.#change = change;
    this.#calling = true;
    this.#effects.push({
      type: 'write',
      follows: this.#state.version,
      limit: change.limit,
      value: formatPermits(this.semaphore.group, change.held.values()),
      holders: holderRows(this.semaphore.group, this.#state.held, change.held),
      permits: permitRows(this.#state.held, change.held),
    });
  }

  /** All changes that are due now, for one write; undefined when the row stays as it is. */
  #next(state: SemaphoreState, now: number): Change | undefined {
    const held = new Map<string, GrantedPermit>(state.held);
    const released = this.#releases.takeFrom(held);
    for (const [id, { permitMs }] of state.held) if (now - this.lastHeard(id) >= permitMs) held.delete(id);
    const resized = this.#resizes.at(-1)?.limit;
    // The first caller of a semaphore sets its limit.
    const limit = resized ?? (state.version === 0n ? (this.#queue.first?.claim.limit ?? 0) : state.limit);
    const grants = this.#nextGrants(state, held, limit, now);
    const resizes = this.#resizes.length;
    if (grants.length === 0 && held.size === state.held.size && (resized === undefined || limit === state.limit)) {
      for (const { ticket } of this.#resizes.splice(0)) this.#settle(ticket, { type: 'done' });
      return undefined;
    }
    return { limit, held, grants, released, resizes };
  }

  /** Adds the permits of the callers whose turn it is to `held`. */
  #nextGrants(state: SemaphoreState, held: Map<string, GrantedPermit>, limit: number, now: number): Waiter[] {
    const grants: Waiter[] = [];
    let free = this.free(limit, held);
    let blocked = now < this.#graceUntil;
    for (const waiter of this.#queue) {
      const { id, holder, permits, wait } = waiter.claim;
      const own = held.get(id);
      if (own?.holder.incarnation === holder.incarnation) {
        this.#grant(waiter, state);
        continue;
      }
      const refusal = own === undefined ? this.#refusal(waiter, limit) : foreign(this.semaphore.name, id);
      if (refusal !== undefined) {
        this.#drop(waiter, refusal);
        continue;
      }
      waiter.agreed = true;
      if (!this.hears(waiter, now)) continue;
      if (!blocked && permits <= free && held.size < MOST_GRANTS) {
        held.set(id, { id, holder, permits, permitMs: this.timing.permitMs });
        free -= permits;
        grants.push(waiter);
      } else if (wait) {
        blocked = true;
      } else {
        this.#drop(waiter, { type: 'not-free' });
      }
    }
    return grants;
  }

  #refusal({ agreed, claim }: Waiter, limit: number): HedgeError | undefined {
    if (!agreed && claim.limit !== limit) return otherLimit(this.semaphore.name, claim.limit, limit);
    return claim.permits > limit ? tooMany(this.semaphore.name, claim.permits, limit) : undefined;
  }

  protected free(limit: number, held: ReadonlyMap<string, GrantedPermit>): number {
    return limit - countOf(held);
  }

  /** A caller that may be dead is granted nothing: its permits would be lost for their whole time (S2). */
  protected hears(waiter: Waiter, now: number): boolean {
    return now - waiter.heardAt < this.timing.heardWithinMs;
  }

  /** An earlier leader may have acknowledged renewals until this term began, and not later (S1). */
  protected lastHeard(id: string): number {
    return this.#heard.get(id) ?? this.since;
  }

  #schedule(now: number): void {
    const idle = this.#state?.held.size === 0 && this.#queue.size + this.#releases.size + this.#resizes.length === 0;
    if (this.#calling || !idle) this.#idleSince = undefined;
    else this.#idleSince ??= now;
    if (this.#calling) return;
    const at = this.#changed ? Math.max(now, this.#notBefore) : this.#nextDue(now);
    if (at >= (this.#wakeAt ?? Infinity)) return;
    this.#wakeAt = at;
    this.#effects.push({ type: 'wake', at });
  }

  /** The time of the next decision without an input. */
  #nextDue(now: number): number {
    // A wake is already scheduled.
    if (this.#wakeAt !== undefined || this.#state === undefined) return Infinity;
    let due = this.#queue.size > 0 && now < this.#graceUntil ? this.#graceUntil : Infinity;
    for (const [id, { permitMs }] of this.#state.held) due = Math.min(due, this.lastHeard(id) + permitMs);
    this.#forgetUnheld(this.#state);
    return due;
  }

  #forgetUnheld({ held }: SemaphoreState): void {
    if (this.#heard.size <= 2 * (held.size + this.#queue.size)) return;
    const waiting = this.#queue.ids();
    for (const id of this.#heard.keys()) if (!held.has(id) && !waiting.has(id)) this.#heard.delete(id);
  }

  #drop(waiter: Waiter, outcome: SemaphoreOutcome | HedgeError): void {
    this.#queue.remove(waiter);
    this.#settle(waiter.ticket, outcome);
  }

  #settle(ticket: number, outcome: SemaphoreOutcome | HedgeError): void {
    this.#effects.push({ type: 'settle', ticket, outcome });
  }

  #tickets(): number[] {
    const others = [...this.#queue, ...this.#resizes, ...this.#renewals].map(({ ticket }) => ticket);
    return [...others, ...this.#releases.tickets()];
  }

  #forget(): void {
    this.#queue.clear();
    this.#resizes = [];
    this.#renewals = [];
    this.#releases.clear();
  }
}

function countOf(held: ReadonlyMap<string, GrantedPermit>): number {
  let count = 0;
  for (const { permits } of held.values()) count += permits;
  return count;
}
