import type { AcquireResult, LeaseRecord } from '../database/lease-table.js';
import type { LeaseMarker } from '../database/observed-lease.js';
import { backoffMs } from '../common/backoff.js';
import { longestElapsed, shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type {
  ContenderCall,
  ContenderEffect,
  ContenderInput,
  ContenderSettings,
  LossReason,
} from './lease-contender.messages.js';
import { nextReadMs, nextReadWhileAnnouncedMs, renewalAt } from './polling-pace.js';
import { ObservedHolder } from './observed-holder.js';
import { AttemptTracker } from './attempt-tracker.js';

/** A lease that this process holds. */
export interface Term {
  readonly token: bigint;
  /** `Renewal.renewals` of the last acknowledged renewal; 0n before the first. */
  readonly renewals: bigint;
  /** The start of the last acknowledged acquisition or renewal. The database counts from a later instant (L2). */
  readonly validSince: Instant;
}

/** L2: whether a holder may rely on its term at `now`. */
export function holdsLease(
  term: Pick<Term, 'validSince'>,
  timing: { leaseMs: number; marginMs: number },
  now: Instant,
): boolean {
  return longestElapsed(term.validSince, now) < timing.leaseMs - timing.marginMs;
}

type Answer<Type extends ContenderInput['type']> = Extract<ContenderInput, { readonly type: Type }>;

/** A call without its attempt number. */
type NewCall<Call = ContenderCall> = Call extends ContenderCall ? Omit<Call, 'attempt'> : never;

type Phase = 'following' | 'holding' | 'draining' | 'releasing' | 'left';

/** The attempts to release a lease. After that many failures the lease expires. */
const RELEASE_TRIES = 2;
/** A process that resigned as unreachable leaves the lease to others for this many leases. */
const UNREACHABLE_LEASES = 10;

/**
 * The state machine of one process that contends for a lease: the leadership of a group, or a named lock. It has no
 * clock, timers, promises or I/O. `step` receives an input and returns the effects to perform. `LeaderElector` and
 * `LockManager` perform them; the simulation drives the contender with faults.
 *
 * @example
 * const contender = new LeaseContender({ self, timing, observes: true, campaigns: true, … });
 * contender.step({ type: 'tick' }, clock.now()); // [{ type: 'read', attempt: 1 }]
 */
export class LeaseContender {
  protected term: Term | undefined;
  #phase: Phase = 'following';
  #stopping = false;
  readonly #call = new AttemptTracker<ContenderCall['type']>();
  readonly #observed: ObservedHolder;
  /** Consecutive failed calls, for the back-off. */
  #failures = 0;
  /** Monotonic time of the next scheduled call: a read or a campaign as follower, a renewal as holder. */
  #dueAt: number | undefined = -Infinity;
  /** The next scheduled call is a campaign rather than a read. */
  #campaignNext: boolean;
  #readAgain = false;
  /** The last acquisition failed, and no read has shown yet whether it took effect. */
  #acquireInDoubt = false;
  /** The last acquisition failed. Reads that succeed do not reset this: on a full disk reads work and writes fail. */
  #writesFail = false;
  /** The token of the last refused acquisition whose record named this process. */
  #ownRefused = 0n;
  /** The lease that is being released. */
  #releasing: { readonly token: bigint; readonly successor: string | undefined; tries: number } | undefined;
  /** Monotonic time until which this process leaves a released lease to the successor. */
  #yieldsUntil = -Infinity;
  /** The highest token whose release was announced to this process. */
  #releasedToken = 0n;
  /** This process is one of those that read the lease while many wait for it. */
  #reads = false;
  /** Monotonic time until which this process leaves the reads to those. */
  #othersReadUntil = -Infinity;
  /** Why the draining term ends. */
  #drainReason: LossReason = 'resigned';
  #resigned: { readonly token: bigint; readonly at: Instant } | undefined;
  /** The last resignation as unreachable. Another holder does not end it, since that may be as unreachable. */
  #unreachableAt: Instant | undefined;
  /** While no other process holds the lease: since when this process has known that. */
  #freeSince: Instant | undefined;
  #effects: ContenderEffect[] = [];

  constructor(private readonly settings: ContenderSettings) {
    this.#observed = new ObservedHolder(settings.self);
    this.#campaignNext = settings.campaigns && !settings.readsFirst;
  }

  /** The term, whether or not it is still valid: check it with `holdsLease`. */
  get currentTerm(): Term | undefined {
    const { term } = this;
    const renewed = term && this.settings.renewed?.(term.token);
    if (renewed === undefined || term === undefined) return term;
    if (renewed === 'superseded') return undefined;
    return renewed.renewals > term.renewals ? { ...renewed, token: term.token } : term;
  }

  /** True from `resign` or `stop` until the lease is released: no new work of the term may start. */
  get handingOver(): boolean {
    return this.#phase === 'draining' || this.#phase === 'releasing';
  }

  /** The number of the last call. */
  get attempts(): number {
    return this.#call.attempts;
  }

  step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    this.#effects = [];
    this.#adoptRenewal(now);
    // First of all, so that late inputs find the term ended.
    if (this.term !== undefined && !holdsLease(this.term, this.settings.timing, now)) this.#lose('expired', now);
    this.#handle(input, now);
    this.#actWhenDue(now);
    const change = this.#observed.change(this.term?.token);
    if (change !== undefined) this.#effects.push({ type: 'holder-changed', ...change });
    const wakeAt = this.#wakeAt();
    if (wakeAt !== undefined) this.#effects.push({ type: 'wake', afterMs: Math.max(0, wakeAt - now.mono) });
    return this.#effects;
  }

  #handle(input: ContenderInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
        return;
      case 'lapsed':
        return this.term?.token === input.token ? this.#lose('expired', now) : undefined;
      case 'begun':
        return this.#call.restart(input.attempt, now);
      case 'read':
        if (this.#call.end('read', input.attempt) === undefined) return;
        return input.record === undefined ? this.#failed(now) : this.#observe(input.record, now);
      case 'acquired': {
        const startedAt = this.#call.end('acquire', input.attempt);
        return startedAt === undefined ? undefined : this.#acquired(input.result, startedAt, now);
      }
      case 'renewed': {
        const startedAt = this.#call.end('renew', input.attempt);
        return startedAt === undefined ? undefined : this.#renewed(input, startedAt, now);
      }
      case 'released':
        return this.#call.end('release', input.attempt) === undefined ? undefined : this.#released(input.released, now);
      case 'self-checked':
        return this.#call.end('check-self', input.attempt) === undefined
          ? undefined
          : this.#checked(input.reached, now);
      case 'observed':
        // This read may be older than the own ones, so it counts only if it contradicts the own term.
        return this.term === undefined ? undefined : this.#observe(input.record, now);
      case 'refresh':
        this.#readAgain = true;
        return;
      case 'lease-released':
        return this.#leaseReleased(input, now);
      case 'renewal-announced':
        return this.#renewalAnnounced(input.from, input.marker, now);
      case 'queued':
        return this.#queued(input.reads, now);
      case 'link-closed':
        return this.#linkClosed(input.member, now);
      case 'resign':
        return this.#drain(input.unreachable === true ? 'unreachable' : 'resigned');
      case 'stop':
        if (this.#phase === 'left') return;
        this.#stopping = true;
        return this.#phase === 'following' ? this.#leaveOnceKnown(now) : this.#drain('stopped');
      case 'drained':
        return this.#phase === 'draining' && this.term?.token === input.token
          ? this.#handOver(input.successor, now)
          : undefined;
    }
  }

  #actWhenDue(now: Instant): void {
    const { renewDeadlineMs } = this.settings.timing;
    const since = this.term?.validSince;
    // The sum is that of `#wakeAt`: the difference of two clock readings may be rounded to less.
    if (
      since !== undefined &&
      (now.mono >= since.mono + renewDeadlineMs || longestElapsed(since, now) >= renewDeadlineMs)
    ) {
      this.#lose('renew-deadline', now);
    }
    const due = this.#dueAt !== undefined && now.mono >= this.#dueAt;
    if (this.term !== undefined) {
      if (due) this.#start({ type: 'renew', token: this.term.token }, now);
      else if (this.#readAgain && this.#call.type === undefined) this.#start({ type: 'read' }, now);
    } else if (this.#call.type === undefined && this.#releasing !== undefined) {
      if (due) this.#start({ type: 'release', token: this.#releasing.token }, now);
    } else if (this.#call.type === undefined && (this.#phase === 'following' || this.#phase === 'left')) {
      if (due && this.#campaignNext) this.#campaign(now);
      else if (due || this.#readAgain) this.#start({ type: 'read' }, now);
    }
  }

  #wakeAt(): number | undefined {
    if (this.term === undefined) return this.#dueAt;
    return Math.min(this.#dueAt ?? Infinity, this.term.validSince.mono + this.settings.timing.renewDeadlineMs);
  }

  // Calls

  #start(call: NewCall, now: Instant): void {
    const attempt = this.#call.begin(call.type, now);
    if (call.type === 'read') this.#readAgain = false;
    // A read by the holder does not delay its renewal.
    if (call.type !== 'read' || this.term === undefined) this.#dueAt = undefined;
    this.#effects.push({ ...call, attempt });
  }

  #failed(now: Instant): void {
    // A failed read by the holder changes nothing: its renewals decide.
    if (this.term !== undefined) return;
    if (this.#stopping && this.#phase !== 'left') return this.#leave();
    this.#observed.expire(now);
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
      // A record with an older token was read before this term.
      const contradicts = record.token > this.term.token || (record.token === this.term.token && !own);
      if (contradicts) this.#superseded(record, now);
      return;
    }
    if (this.#stopping && this.#phase !== 'left') {
      // This read shows the outcome of an acquisition in doubt.
      return own ? this.#release(record.token, now) : this.#leave();
    }
    this.#acquireInDoubt = false;
    // The announcement of this release, which may name a successor, is still on its way.
    if (record.holder === undefined && record.token > this.#releasedToken && this.#holderAnnounces(now)) {
      this.#leaveToSuccessor(now);
    }
    this.#noteHolder(record, now);
    const free = record.holder === undefined || own || record.expiresInMs <= 0;
    if (!free) this.#writesFail = false;
    // While writes fail, the pauses between acquisitions keep growing.
    if (!this.#writesFail) this.#failures = 0;
    if (free && this.#mayCampaign(now)) return this.#campaign(now);
    if (free && now.mono < this.#yieldsUntil) {
      return this.#wakeIn(Math.min(this.settings.timing.retryMs, this.#yieldsUntil - now.mono), now);
    }
    if (this.#holderAnnounces(now)) return this.#readIfSilent(now);
    this.#readIn(nextReadMs(record, free, this.settings), now);
  }

  #readIn(ms: number, now: Instant): void {
    this.#wakeIn(Math.max(ms, this.#othersReadUntil - now.mono), now);
  }

  /**
   * Many processes wait for this lease, and a few of them read it. The others rely on the leader for a while that covers
   * the election of the next one, which chooses the readers again.
   */
  #queued(reads: boolean, now: Instant): void {
    if (this.#phase !== 'following') return;
    const { timing, random } = this.settings;
    // The lease may have been released before the leader had heard of this process.
    if (reads && !this.#reads) this.#readAgain = true;
    this.#reads = reads;
    this.#othersReadUntil = reads ? -Infinity : now.mono + timing.leaseMs * (2 + random() / 4);
    if (!reads && this.#isWaitingToRead) this.#readIn(0, now);
  }

  /** A follower does not read the lease while its holder announces its renewals. */
  #renewalAnnounced(from: MemberId, marker: LeaseMarker, now: Instant): void {
    const announcement = this.#observed.announced(from, marker, this.settings.timing.leaseMs, now);
    if (announcement === 'new') this.#effects.push({ type: 'observe-renewal', marker });
    if (announcement !== undefined && this.#isWaitingToRead) this.#readIfSilent(now);
  }

  #holderAnnounces(now: Instant): boolean {
    return this.#observed.announcedWithin(this.settings.timing.leaseMs / 3, now);
  }

  #readIfSilent(now: Instant): void {
    this.#wakeIn(nextReadWhileAnnouncedMs(this.#observed.expiresInMs(now), this.settings), now);
  }

  /** The holder may have ended. */
  #linkClosed(member: MemberId, now: Instant): void {
    if (!this.#observed.silenced(member) || !this.#isWaitingToRead) return;
    this.#wakeIn((this.settings.timing.leaseMs / 16) * this.settings.random(), now);
  }

  /** After a failure the reads continue: they show when the database answers this process again. */
  get #isWaitingToRead(): boolean {
    return this.#call.type === undefined && !this.#campaignNext && this.#failures === 0;
  }

  #noteHolder(record: LeaseRecord, now: Instant): void {
    this.#observed.observe(record, now);
    this.#freeSince = this.#observed.other === undefined ? (this.#freeSince ?? now) : undefined;
    if (this.#observed.other !== undefined && this.#resigned !== undefined && record.token > this.#resigned.token)
      this.#resigned = undefined;
  }

  #leaseReleased({ token, successor }: Answer<'lease-released'>, now: Instant): void {
    const { other } = this.#observed;
    if (other !== undefined && token < other.token) return;
    if (token > this.#releasedToken) this.#releasedToken = token;
    if (successor !== undefined && successor !== this.settings.self.incarnation) return this.#yield(now);
    // An earlier release left the lease to another process, whose term has ended since.
    this.#yieldsUntil = -Infinity;
    if (this.#phase !== 'following' || this.#call.type !== undefined || !this.#mayCampaign(now)) {
      this.#readAgain = true;
      return;
    }
    this.#campaignNext = true;
    // The other processes wait for the named successor, so no jitter is needed.
    if (successor !== undefined) return this.#wakeIn(0, now);
    this.#wakeIn((this.settings.random() * this.settings.timing.retryMs) / 4, now);
  }

  /** Reads the lease soon, to learn the next holder, but leaves it to the successor for a moment. */
  #yield(now: Instant): void {
    const { timing, random } = this.settings;
    this.#leaveToSuccessor(now);
    this.#campaignNext = false;
    // The call in flight may have seen the lease before its release.
    if (this.#call.type !== undefined) this.#readAgain = true;
    else if (this.term === undefined && this.#releasing === undefined) {
      this.#wakeIn((timing.retryMs / 4) * (1 + random()), now);
    }
  }

  #leaveToSuccessor(now: Instant): void {
    const { timing, random } = this.settings;
    this.#yieldsUntil = now.mono + (timing.leaseMs / 8) * (1 + random());
  }

  #mayCampaign(now: Instant): boolean {
    if (!this.settings.campaigns || this.#stopping || now.mono < this.#yieldsUntil) return false;
    const { leaseMs } = this.settings.timing;
    const resigned = this.#resigned;
    if (resigned !== undefined && shortestElapsed(resigned.at, now) < leaseMs) return false;
    const unreachableAt = this.#unreachableAt;
    if (unreachableAt === undefined || shortestElapsed(unreachableAt, now) >= UNREACHABLE_LEASES * leaseMs) return true;
    // Nobody else has acquired the lease.
    return this.#freeSince !== undefined && shortestElapsed(this.#freeSince, now) >= leaseMs;
  }

  #campaign(now: Instant): void {
    this.#campaignNext = false;
    this.#start({ type: this.settings.checksSelf ? 'check-self' : 'acquire' }, now);
  }

  #checked(reached: boolean, now: Instant): void {
    if (!reached) return this.#retryLater(now);
    // Meanwhile the lease was released to another process.
    if (now.mono < this.#yieldsUntil) this.#readAgain = true;
    else this.#start({ type: 'acquire' }, now);
  }

  #acquired(result: AcquireResult | undefined, startedAt: Instant, now: Instant): void {
    this.#acquireInDoubt = result === undefined;
    this.#writesFail = result === undefined;
    if (result === undefined) {
      if (this.#stopping) return this.#start({ type: 'read' }, now);
      return this.#failed(now);
    }
    if (!result.acquired) return this.#refused(result.record, now);
    if (this.#stopping) return this.#release(result.token, now);
    const term: Term = { token: result.token, renewals: 0n, validSince: startedAt };
    // The answer came too late to be valid. The row names this incarnation, so the next attempt acquires it again.
    if (!holdsLease(term, this.settings.timing, now)) return this.#failed(now);
    this.term = term;
    this.#phase = 'holding';
    this.#failures = 0;
    this.#observed.forget();
    this.#resigned = undefined;
    this.#readAgain = false;
    this.#dueAt = this.settings.renewed === undefined ? this.#renewalAt(startedAt) : undefined;
    this.#effects.push({ type: 'lease-acquired', ...term });
  }

  #refused(record: LeaseRecord, now: Instant): void {
    const own = record.holder?.incarnation === this.settings.self.incarnation;
    if (this.#stopping) return own ? this.#release(record.token, now) : this.#leave();
    this.#failures = 0;
    this.#noteHolder(record, now);
    // An acquisition without an answer took effect after all. Once for each token: the driver may refuse for long.
    if (own && record.token > this.#ownRefused && this.#mayCampaign(now)) {
      this.#ownRefused = record.token;
      return this.#start({ type: 'acquire' }, now);
    }
    this.#readIn(nextReadMs(record, record.expiresInMs <= 0, this.settings), now);
  }

  // Holding

  #renewed({ result, attempt }: Answer<'renewed'>, startedAt: Instant, now: Instant): void {
    if (this.term === undefined) return;
    if (result === undefined) return this.#retryLater(now);
    if (!result.renewed) return this.#superseded(result.record, now);
    this.#failures = 0;
    const marker: LeaseMarker = { token: this.term.token, renewals: BigInt(attempt) };
    this.term = { ...marker, validSince: startedAt };
    this.#dueAt = this.#renewalAt(startedAt);
    this.#effects.push({ type: 'announce-renewed', marker });
  }

  #renewalAt(startedAt: Instant): number {
    return renewalAt(startedAt.mono, this.settings.timing.leaseMs, this.settings.renewalPhaseMs);
  }

  /** Another thread renews this term: takes over its last renewal. */
  #adoptRenewal(now: Instant): void {
    const latest = this.currentTerm;
    if (latest === this.term) return;
    if (latest === undefined) return this.#lose('superseded', now);
    this.term = latest;
    this.#effects.push({ type: 'announce-renewed', marker: { token: latest.token, renewals: latest.renewals } });
  }

  #superseded(record: LeaseRecord, now: Instant): void {
    this.#lose('superseded', now);
    if (this.#phase === 'following') this.#noteHolder(record, now);
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
    this.#effects.push({ type: 'lease-lost', token: this.term.token, reason });
    this.term = undefined;
    this.#call.forget();
  }

  #drain(reason: LossReason): void {
    if (this.#phase !== 'holding' || this.term === undefined) return;
    this.#phase = 'draining';
    this.#drainReason = reason;
    this.#effects.push({ type: 'drain', token: this.term.token });
  }

  /** Ends the term first, then releases the lease. A renewal in flight does no harm: the release clears the holder. */
  #handOver(successor: string | undefined, now: Instant): void {
    if (this.term === undefined) return;
    const { token } = this.term;
    if (!this.#stopping) this.#resigned = { token, at: now };
    if (this.#drainReason === 'unreachable') this.#unreachableAt = now;
    this.#freeSince = undefined;
    this.#endTerm(this.#stopping ? 'stopped' : this.#drainReason);
    this.#release(token, now, successor);
  }

  #release(token: bigint, now: Instant, successor?: string): void {
    this.#phase = 'releasing';
    this.#releasing = { token, successor, tries: 1 };
    this.#start({ type: 'release', token }, now);
  }

  #released(released: boolean | undefined, now: Instant): void {
    const releasing = this.#releasing;
    if (releasing === undefined) return;
    if (released === undefined && releasing.tries < RELEASE_TRIES) {
      releasing.tries += 1;
      return this.#retryLater(now);
    }
    const announces = this.#stopping || this.#drainReason !== 'unreachable';
    const { token, successor } = releasing;
    if (released === true && announces) this.#effects.push({ type: 'announce-released', token, successor });
    this.#releasing = undefined;
    if (this.#stopping) return this.#leave();
    this.#phase = 'following';
    this.#wakeIn(this.settings.timing.leaseMs / 8, now);
  }

  /** Waits for the outcome of an acquisition: a lease that nobody releases would block the others until it expires. */
  #leaveOnceKnown(now: Instant): void {
    if (this.#call.type === 'acquire') return;
    if (!this.#acquireInDoubt) return this.#leave();
    if (this.#call.type !== 'read') this.#start({ type: 'read' }, now);
  }

  /**
   * Never campaigns again, but follows the holder, beginning with a read now: a process that stops may still have to
   * send to its leader.
   */
  #leave(): void {
    this.#phase = 'left';
    this.#campaignNext = false;
    if (this.#call.type !== 'read') {
      this.#call.forget();
      this.#dueAt = -Infinity;
    }
    this.#effects.push({ type: 'left' });
  }
}
