import type { AcquireResult, LeaseRecord, RenewResult } from '../backend/lease.js';
import { backoffMs } from '../common/backoff.js';
import { longestElapsed, shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import { lookAgainMs } from './election-pace.js';
import type { ElectionCall, ElectionEffect, ElectionInput, ElectionSettings, LossReason } from './election-messages.js';
import { holdsLease, type Term } from './term.js';

/** Without its attempt number. */
type Asked<Call = ElectionCall> = Call extends ElectionCall ? Omit<Call, 'attempt'> : never;

type Phase = 'following' | 'leading' | 'draining' | 'releasing' | 'left';

/** A release that fails is tried this often; after that the lease runs out by itself. */
const RELEASE_TRIES = 2;

/**
 * One member's election, as a state machine without clock, timers, promises or I/O: `step` takes what
 * happened and gives what is to be done. `LeaseKeeper` performs it; the simulation drives it with faults.
 *
 * Only the latest call counts: a result of an older attempt is ignored, so a late success of a renewal
 * revives nothing (L3).
 *
 * @example
 * const election = new Election({ self, timing, observes: true, campaigns: true, random: Math.random });
 * election.step({ type: 'tick' }, clock.now()); // [{ type: 'read', attempt: 1 }]
 */
export class Election {
  protected term: Term | undefined;
  #phase: Phase = 'following';
  #stopping = false;
  #call: { readonly type: ElectionCall['type']; readonly attempt: number; readonly startedAt: Instant } | undefined;
  #attempts = 0;
  /** Calls in a row that failed, for the backoff. */
  #failures = 0;
  /** Monotonic time of the next thing to do by oneself: as follower a look at the lease, as holder a renewal. */
  #dueAt: number | undefined = -Infinity;
  /** What is due is a campaign rather than a look. */
  #campaignNext = false;
  #readAgain = false;
  /** Another's lease, as last read. */
  #known: { member: MemberId; epoch: bigint; seenAt: Instant; expiresInMs: number } | undefined;
  /** A lease to give back. */
  #giving: { readonly token: bigint; tries: number } | undefined;
  #resigned: { readonly token: bigint; readonly at: Instant } | undefined;
  #told: { readonly member: MemberId; readonly epoch: bigint } | undefined;
  #effects: ElectionEffect[] = [];

  constructor(private readonly settings: ElectionSettings) {}

  /** The term held, without looking at the time: judge it with `holdsLease`. */
  get currentTerm(): Term | undefined {
    return this.term;
  }

  /** True from the wish to resign or stop until the lease is given back: no new leader work may start. */
  get handingOver(): boolean {
    return this.#phase === 'draining' || this.#phase === 'releasing';
  }

  /** Number of the last call asked for. */
  get attempts(): number {
    return this.#attempts;
  }

  step(input: ElectionInput, now: Instant): readonly ElectionEffect[] {
    this.#effects = [];
    // Before anything else, so that whatever arrives late finds the term gone.
    if (this.term !== undefined && !holdsLease(this.term, this.settings.timing, now)) this.#lose('expired', now);
    this.#take(input, now);
    this.#actWhenDue(now);
    this.#tellLeader();
    const wakeAt = this.#wakeAt();
    if (wakeAt !== undefined) this.#effects.push({ type: 'wake', afterMs: Math.max(0, wakeAt - now.mono) });
    return this.#effects;
  }

  #take(input: ElectionInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
        return;
      case 'read':
        if (this.#end('read', input.attempt) === undefined) return;
        return input.record === undefined ? this.#failed(now) : this.#observe(input.record, now);
      case 'acquired': {
        const startedAt = this.#end('acquire', input.attempt);
        return startedAt === undefined ? undefined : this.#acquired(input.result, startedAt, now);
      }
      case 'renewed': {
        const startedAt = this.#end('renew', input.attempt);
        return startedAt === undefined ? undefined : this.#renewed(input.result, startedAt, now);
      }
      case 'released':
        return this.#end('release', input.attempt) === undefined ? undefined : this.#released(input.released, now);
      case 'self-checked':
        return this.#end('check-self', input.attempt) === undefined ? undefined : this.#checked(input.reached, now);
      case 'observed':
        // Read on the side, so only a contradiction of the term held is sure to be news.
        return this.term === undefined ? undefined : this.#observe(input.record, now);
      case 'refresh':
        this.#readAgain = true;
        return;
      case 'leader-released':
        return this.#leaderReleased(input.epoch, now);
      case 'resign':
        return this.#drain();
      case 'stop':
        if (this.#phase === 'left') return;
        this.#stopping = true;
        // An acquisition under way may succeed, and would then block the others for a whole lease.
        if (this.#phase === 'following' && this.#call?.type !== 'acquire') return this.#leave();
        return this.#drain();
      case 'drained':
        return this.#phase === 'draining' && this.term?.token === input.token ? this.#handOver(now) : undefined;
    }
  }

  #actWhenDue(now: Instant): void {
    if (this.term !== undefined && longestElapsed(this.term.validSince, now) >= this.settings.timing.renewDeadlineMs) {
      this.#lose('renew-deadline', now);
    }
    const due = this.#dueAt !== undefined && now.mono >= this.#dueAt;
    if (this.term !== undefined) {
      if (due) this.#start({ type: 'renew', token: this.term.token }, now);
      else if (this.#readAgain && this.#call === undefined) this.#start({ type: 'read' }, now);
    } else if (this.#call === undefined && this.#giving !== undefined) {
      if (due) this.#start({ type: 'release', token: this.#giving.token }, now);
    } else if (this.#call === undefined && (this.#phase === 'following' || this.#phase === 'left')) {
      if (due && this.#campaignNext) this.#campaign(now);
      else if (due || this.#readAgain) this.#start({ type: 'read' }, now);
    }
  }

  #wakeAt(): number | undefined {
    if (this.term === undefined) return this.#dueAt;
    return Math.min(this.#dueAt ?? Infinity, this.term.validSince.mono + this.settings.timing.renewDeadlineMs);
  }

  // Calls

  #start(call: Asked, now: Instant): void {
    this.#attempts += 1;
    this.#call = { type: call.type, attempt: this.#attempts, startedAt: now };
    if (call.type === 'read') this.#readAgain = false;
    // A holder's look at the lease does not put off its renewal.
    if (call.type !== 'read' || this.term === undefined) this.#dueAt = undefined;
    this.#effects.push({ ...call, attempt: this.#attempts });
  }

  /** When the call began, if it is the one that counts. */
  #end(type: ElectionCall['type'], attempt: number): Instant | undefined {
    const call = this.#call;
    if (call === undefined || call.type !== type || call.attempt !== attempt) return undefined;
    this.#call = undefined;
    return call.startedAt;
  }

  #failed(now: Instant): void {
    // A holder's failed look changes nothing: its renewals decide.
    if (this.term !== undefined) return;
    if (this.#stopping && this.#phase !== 'left') return this.#leave();
    const known = this.#known;
    if (known !== undefined && shortestElapsed(known.seenAt, now) >= known.expiresInMs) this.#known = undefined;
    this.#retryLater(now);
  }

  #retryLater(now: Instant): void {
    const { retryMs } = this.settings.timing;
    this.#failures += 1;
    this.#wakeIn(backoffMs(this.#failures, retryMs, 4 * retryMs, this.settings.random()), now);
  }

  #wakeIn(ms: number, now: Instant): void {
    this.#dueAt = now.mono + ms;
  }

  // Following

  #observe(record: LeaseRecord, now: Instant): void {
    const own = record.holder?.incarnation === this.settings.self.incarnation;
    if (this.term !== undefined) {
      // An older token is a read from before this term.
      const contradicts = record.token > this.term.token || (record.token === this.term.token && !own);
      if (contradicts) this.#superseded(record, now);
      return;
    }
    if (this.#stopping && this.#phase !== 'left') {
      // Found out what became of an acquisition whose outcome was unknown.
      return own ? this.#giveBack(record.token, now) : this.#leave();
    }
    this.#failures = 0;
    this.#learn(record, now);
    const free = record.holder === undefined || own || record.expiresInMs <= 0;
    if (free && this.#mayCampaign(now)) return this.#campaign(now);
    this.#wakeIn(lookAgainMs(record, free, this.settings), now);
  }

  #learn(record: LeaseRecord, now: Instant): void {
    const { holder, token, expiresInMs } = record;
    const another = holder !== undefined && holder.incarnation !== this.settings.self.incarnation && expiresInMs > 0;
    this.#known = another ? { member: holder, epoch: token, seenAt: now, expiresInMs } : undefined;
    if (another && this.#resigned !== undefined && token > this.#resigned.token) this.#resigned = undefined;
  }

  #leaderReleased(epoch: bigint, now: Instant): void {
    if (this.#known !== undefined && epoch < this.#known.epoch) return;
    if (this.#phase !== 'following' || this.#call !== undefined || !this.#mayCampaign(now)) {
      this.#readAgain = true;
      return;
    }
    this.#campaignNext = true;
    this.#wakeIn((this.settings.random() * this.settings.timing.retryMs) / 4, now);
  }

  #mayCampaign(now: Instant): boolean {
    if (!this.settings.campaigns || this.#stopping) return false;
    const resigned = this.#resigned;
    return resigned === undefined || shortestElapsed(resigned.at, now) >= this.settings.timing.leaseMs;
  }

  #campaign(now: Instant): void {
    this.#campaignNext = false;
    this.#start({ type: 'check-self' }, now);
  }

  #checked(reached: boolean, now: Instant): void {
    if (reached) this.#start({ type: 'acquire' }, now);
    else this.#retryLater(now);
  }

  #acquired(result: AcquireResult | undefined, startedAt: Instant, now: Instant): void {
    if (result === undefined) {
      if (this.#stopping) return this.#start({ type: 'read' }, now);
      return this.#failed(now);
    }
    if (!result.acquired) {
      if (this.#stopping) return this.#leave();
      this.#failures = 0;
      this.#learn(result.record, now);
      return this.#wakeIn(lookAgainMs(result.record, result.record.expiresInMs <= 0, this.settings), now);
    }
    if (this.#stopping) return this.#giveBack(result.token, now);
    const term: Term = { token: result.token, validSince: startedAt };
    // Too late to be of use. The row names this incarnation, so the next try takes it with a new token.
    if (!holdsLease(term, this.settings.timing, now)) return this.#failed(now);
    this.term = term;
    this.#phase = 'leading';
    this.#failures = 0;
    this.#known = undefined;
    this.#resigned = undefined;
    this.#readAgain = false;
    this.#dueAt = startedAt.mono + this.settings.timing.leaseMs / 3;
    this.#effects.push({ type: 'became-leader', token: term.token });
  }

  // Holding

  #renewed(result: RenewResult | undefined, startedAt: Instant, now: Instant): void {
    if (this.term === undefined) return;
    if (result === undefined) return this.#retryLater(now);
    if (!result.renewed) return this.#superseded(result.record, now);
    this.#failures = 0;
    this.term = { token: this.term.token, validSince: startedAt };
    this.#dueAt = startedAt.mono + this.settings.timing.leaseMs / 3;
  }

  #superseded(record: LeaseRecord, now: Instant): void {
    this.#lose('superseded', now);
    if (this.#phase === 'following') this.#learn(record, now);
  }

  #lose(reason: LossReason, now: Instant): void {
    this.#endTerm(reason);
    if (this.#stopping) return this.#leave();
    this.#phase = 'following';
    this.#failures = 0;
    this.#wakeIn(this.settings.random() * this.settings.timing.retryMs, now);
  }

  #endTerm(reason: LossReason): void {
    if (this.term === undefined) return;
    this.#effects.push({ type: 'lost-leadership', token: this.term.token, reason });
    this.term = undefined;
    this.#call = undefined;
  }

  #drain(): void {
    if (this.#phase !== 'leading' || this.term === undefined) return;
    this.#phase = 'draining';
    this.#effects.push({ type: 'drain', token: this.term.token });
  }

  /** Stops believing first, then gives back. A renewal still under way cannot harm: release clears the holder. */
  #handOver(now: Instant): void {
    if (this.term === undefined) return;
    const { token } = this.term;
    if (!this.#stopping) this.#resigned = { token, at: now };
    this.#endTerm(this.#stopping ? 'stopped' : 'resigned');
    this.#giveBack(token, now);
  }

  #giveBack(token: bigint, now: Instant): void {
    this.#phase = 'releasing';
    this.#giving = { token, tries: 1 };
    this.#start({ type: 'release', token }, now);
  }

  #released(released: boolean | undefined, now: Instant): void {
    const giving = this.#giving;
    if (giving === undefined) return;
    if (released === undefined && giving.tries < RELEASE_TRIES) {
      giving.tries += 1;
      return this.#retryLater(now);
    }
    if (released === true) this.#effects.push({ type: 'announce-released', token: giving.token });
    this.#giving = undefined;
    if (this.#stopping) return this.#leave();
    this.#phase = 'following';
    this.#wakeIn(this.settings.timing.leaseMs / 8, now);
  }

  /**
   * Out of the election for good. It still follows who leads, from a look at once, for what this process may
   * yet send to the leader while it ends.
   */
  #leave(): void {
    this.#phase = 'left';
    this.#campaignNext = false;
    if (this.#call?.type !== 'read') {
      this.#call = undefined;
      this.#dueAt = -Infinity;
    }
    this.#effects.push({ type: 'left' });
  }

  #tellLeader(): void {
    const leader = this.term === undefined ? this.#known : { member: this.settings.self, epoch: this.term.token };
    const same = leader?.epoch === this.#told?.epoch && leader?.member.incarnation === this.#told?.member.incarnation;
    if (same) return;
    this.#told = leader === undefined ? undefined : { member: leader.member, epoch: leader.epoch };
    this.#effects.push(
      this.#told === undefined ? { type: 'leader-changed' } : { type: 'leader-changed', leader: this.#told },
    );
  }
}
