import { backoffMs } from '../common/backoff.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import { LeaderContact } from './leader-contact.js';
import { CapacityTable, type FreeSpace, type FreeSpaces } from './capacity-table.js';
import { Roster } from './roster.js';
import { isLater, type View } from './view.js';

export interface MembershipSettings {
  readonly self: MemberId;
  readonly timing: Pick<Timing, 'heartbeatMs' | 'heartbeatTimeoutMs' | 'retryMs'>;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** Between a report and the resignation: time in which the first heartbeats arrive if the network is whole again. */
const HEARTBEATS_TO_DECIDE = 3;
/** A leader looks for reports once in so many heartbeat timeouts, and in each while most members are silent. */
const TIMEOUTS_BETWEEN_LOOKS = 4;

/** Who leads, as the lease in the database says. */
export interface ConfirmedLeader {
  readonly member: MemberId;
  readonly epoch: bigint;
}

/** Written to the database by a member that cannot reach its leader, for that leader to read. */
export interface UnreachableReport {
  /** The term in which the leader could not be reached. */
  readonly epoch: bigint;
  readonly by: MemberId;
  /** Incarnations of the other members that `by` has reached. */
  readonly reached: readonly string[];
}

export type MembershipInput =
  | { readonly type: 'tick' }
  /** The election knows another leader, or none. Never a peer's word. */
  | { readonly type: 'leader'; readonly leader?: ConfirmedLeader }
  | {
      readonly type: 'heartbeat';
      readonly from: MemberId;
      readonly epoch: bigint;
      readonly version: number;
      /** What the sender lends to spill stores. */
      readonly space?: FreeSpace | undefined;
    }
  | {
      readonly type: 'view';
      readonly from: MemberId;
      readonly view: View;
      readonly spaces?: FreeSpaces;
      /** The sender answers heartbeats. */
      readonly answers?: boolean;
    }
  /** The result of `report-unreachable`; not for a report that failed or was left to another member. */
  | { readonly type: 'reported'; readonly epoch: bigint }
  /**
   * The result of `read-reports`: the last report of the group, if any. `stamp` differs from report to report.
   * `dialled` tells whether this leader has reached the member that wrote it.
   */
  | {
      readonly type: 'reports-read';
      readonly stamp: string;
      readonly report?: UnreachableReport;
      readonly dialled: boolean;
    }
  /** What this member itself lends has changed. */
  | { readonly type: 'space'; readonly space: FreeSpace }
  | { readonly type: 'leave'; readonly from: MemberId }
  /** The link to that member broke, or none could be made. */
  | { readonly type: 'unreachable'; readonly member: MemberId };

export type MembershipEffect =
  | {
      readonly type: 'send-heartbeat';
      readonly to: MemberId;
      readonly epoch: bigint;
      readonly version: number;
      readonly space?: FreeSpace | undefined;
    }
  | { readonly type: 'send-view'; readonly to: MemberId; readonly view: View; readonly spaces: FreeSpaces }
  /** The answer of a leader to a heartbeat. */
  | { readonly type: 'answer-heartbeat'; readonly to: MemberId; readonly epoch: bigint; readonly version: number }
  /** The leader has not answered for the heartbeat timeout. */
  | { readonly type: 'contact-lost'; readonly leader: MemberId }
  /** It answers again, or another pod leads. */
  | { readonly type: 'contact-restored' }
  /** Try to reach these, and write an `UnreachableReport` for the leader of that term to read. */
  | { readonly type: 'report-unreachable'; readonly epoch: bigint; readonly others: readonly MemberId[] }
  /** As leader: more members have fallen silent than are heard. */
  | { readonly type: 'members-silent'; readonly silent: readonly MemberId[]; readonly heard: number }
  | { readonly type: 'members-heard' }
  /** As leader: read what members have reported of not reaching a leader. */
  | { readonly type: 'read-reports'; readonly epoch: bigint }
  /** As leader: another member reaches more members than this one. Have the election resign. */
  | { readonly type: 'resign'; readonly better: MemberId }
  /** Have the election read the lease: a peer speaks of a later term, or the leader is out of reach. */
  | { readonly type: 'confirm-leader' }
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number };

/**
 * One member's part in the group's membership, as a state machine without clock, timers or I/O.
 * `MembershipRunner` performs it; the simulation drives it with faults.
 *
 * As leader it keeps the roster and pushes views; else it sends heartbeats to the leader and takes its
 * views. A view counts only when its own leader sent it, the lease in the database names that leader for
 * that epoch, and it is later than the one here (M1).
 */
export class Membership {
  /** The last leader known. */
  #leader: ConfirmedLeader | undefined;
  /** False while nobody is known to lead; heartbeats still go to the last one, in case only this pod cannot tell. */
  #hasLeader = false;
  #roster: Roster | undefined;
  protected accepted: View | undefined;
  /** The latest view of a term that the lease has not confirmed. */
  #unconfirmed: View | undefined;
  /**
   * Members that left or were replaced, and when. They are not taken in again for one heartbeat timeout, in
   * which their last messages arrive; no longer, because it may have been the replaced one that lives.
   */
  readonly #gone = new Map<string, Instant>();
  readonly #capacity = new CapacityTable();
  #failures = 0;
  #nextBeat: number | undefined;
  readonly #contact: LeaderContact;
  /** Monotonic time of the next `report-unreachable`. */
  #nextReport = 0;
  /** This member has reported the present leader: it looks at the lease often, to follow on a resignation. */
  #reporter = false;
  /** As leader: `mostSilent` as last told. */
  #mostSilent = false;
  /** As leader: monotonic time of the next `read-reports`. */
  #nextReportsRead = 0;
  /** Of the last report read in this term: one that was there before does not count. */
  #stamp: string | undefined;
  /** A report by which this leader may have to resign, and the monotonic time to decide. */
  #candidate: { readonly report: UnreachableReport; readonly dialled: boolean; readonly decideAt: number } | undefined;
  /** It has resigned for a member that reaches more, and since then no other pod has led. */
  protected resigned = false;
  #effects: MembershipEffect[] = [];

  constructor(private readonly settings: MembershipSettings) {
    this.#contact = new LeaderContact(settings.timing.heartbeatTimeoutMs);
  }

  get view(): View | undefined {
    return this.accepted;
  }

  /** Whether the view is complete as far as anybody can know: settled, and of the leader of now, which answers. */
  get settled(): boolean {
    return (
      this.#hasLeader &&
      !this.#contact.lost &&
      this.accepted?.settled === true &&
      this.accepted.epoch === this.#leader?.epoch
    );
  }

  /** What each member lends to spill stores, as far as known. Changes within a view. */
  get spaces(): FreeSpaces {
    return this.#capacity.spaces;
  }

  step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    if (this.#nextBeat !== undefined && now.mono >= this.#nextBeat) this.#beat(now);
    if (this.#nextBeat !== undefined) {
      this.#effects.push({ type: 'wake', afterMs: this.#nextBeat - now.mono });
    }
    return this.#effects;
  }

  #handle(input: MembershipInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
        return;
      case 'leader':
        return this.#leaderIs(input.leader, now);
      case 'heartbeat':
        return this.#heard(input.from, input, now);
      case 'view':
        this.received(input.from, input.view);
        this.#heardLeader(input.from, input.view.epoch, input.answers ?? false, now);
        if (input.spaces !== undefined) this.#spacesAre(input.from, input.view, input.spaces);
        return;
      case 'reported':
        this.#reporter = this.#contact.lost && input.epoch === this.#leader?.epoch;
        return;
      case 'reports-read':
        return this.#reportsRead(input, now);
      case 'space':
        return this.#capacity.record(this.settings.self.incarnation, input.space);
      case 'leave':
        this.#gone.set(input.from.incarnation, now);
        if (this.#roster?.left(input.from, now) === true) this.#publish(this.#roster);
        return;
      case 'unreachable':
        return this.#unreachable(input.member, now);
    }
  }

  #leaderIs(leader: ConfirmedLeader | undefined, now: Instant): void {
    this.#hasLeader = leader !== undefined;
    if (leader === undefined) {
      if (this.#roster !== undefined) this.#leader = this.#nextBeat = undefined;
      this.#roster = undefined;
      return;
    }
    if (leader.epoch === this.#leader?.epoch) return;
    this.#leader = leader;
    this.#roster = undefined;
    this.#failures = 0;
    if (this.#contact.begin(now)) this.#effects.push({ type: 'contact-restored' });
    this.#reporter = this.#mostSilent = false;
    this.#stamp = this.#candidate = undefined;
    this.#nextBeat = now.mono;
    const { self, timing } = this.settings;
    if (leader.member.incarnation === self.incarnation) {
      const { heartbeatTimeoutMs } = timing;
      const gone = (member: MemberId): boolean => this.#gone.has(member.incarnation);
      this.#contact.end();
      this.#nextReportsRead = now.mono + heartbeatTimeoutMs;
      this.#roster = new Roster({ self, epoch: leader.epoch, heartbeatTimeoutMs }, this.accepted, gone, now);
      this.#publish(this.#roster);
      return;
    }
    this.resigned = false;
    if (this.#unconfirmed !== undefined) {
      const view = this.#unconfirmed;
      this.#unconfirmed = undefined;
      this.received(view.leader, view);
    }
  }

  /** What is due once per heartbeat: as leader to see who is gone, else to tell the leader of oneself. */
  #beat(now: Instant): void {
    const { heartbeatMs, heartbeatTimeoutMs } = this.settings.timing;
    this.#nextBeat = now.mono + heartbeatMs;
    for (const [incarnation, at] of this.#gone) {
      if (shortestElapsed(at, now) >= heartbeatTimeoutMs) this.#gone.delete(incarnation);
    }
    if (this.#roster !== undefined) {
      if (this.#roster.tick(now)) this.#publish(this.#roster);
      this.#checkSilence(this.#roster, now);
    } else if (this.#leader !== undefined) {
      this.#checkContact(this.#leader, now);
      const { epoch, version } = this.accepted ?? { epoch: 0n, version: 0 };
      const space = this.#capacity.spaces.get(this.settings.self.incarnation);
      this.#effects.push({ type: 'send-heartbeat', to: this.#leader.member, epoch, version, space });
    }
  }

  // As leader

  #heard(from: MemberId, has: { epoch: bigint; version: number; space?: FreeSpace | undefined }, now: Instant): void {
    if (this.#roster === undefined) return this.#heardLeader(from, has.epoch, true, now);
    if (this.#leader !== undefined && has.epoch > this.#leader.epoch) this.#effects.push({ type: 'confirm-leader' });
    if (this.#gone.has(from.incarnation)) return;
    const predecessor = this.#roster.predecessorOf(from);
    if (predecessor !== undefined) this.#gone.set(predecessor.incarnation, now);
    this.#capacity.record(from.incarnation, has.space);
    if (this.#roster.heard(from, now)) this.#publish(this.#roster);
    else if (
      this.accepted !== undefined &&
      (isLater(this.accepted, has) || !this.#capacity.isUpToDate(from.incarnation))
    ) {
      this.#sendView(from, this.accepted);
    }
    const { epoch, version } = this.accepted ?? { epoch: 0n, version: 0 };
    this.#effects.push({ type: 'answer-heartbeat', to: from, epoch, version });
  }

  /** Tells when most members fall silent and when not any more, and looks for reports while this may be its own fault. */
  #checkSilence(roster: Roster, now: Instant): void {
    const { mostSilent, heardCount, silent } = roster;
    if (mostSilent !== this.#mostSilent) {
      this.#mostSilent = mostSilent;
      this.#nextReportsRead = now.mono;
      this.#effects.push(
        mostSilent ? { type: 'members-silent', silent, heard: heardCount } : { type: 'members-heard' },
      );
    }
    this.#decide(roster, now);
    if (now.mono < this.#nextReportsRead || this.#leader === undefined) return;
    // Also while nobody fell silent: there may be members that have never reached it.
    const { heartbeatTimeoutMs } = this.settings.timing;
    this.#nextReportsRead = now.mono + (mostSilent ? 1 : TIMEOUTS_BETWEEN_LOOKS) * heartbeatTimeoutMs;
    this.#effects.push({ type: 'read-reports', epoch: this.#leader.epoch });
  }

  #reportsRead({ stamp, report, dialled }: MembershipInput & { readonly type: 'reports-read' }, now: Instant): void {
    const before = this.#stamp;
    this.#stamp = stamp;
    if (report === undefined || before === undefined || before === stamp || report.epoch !== this.#leader?.epoch)
      return;
    const { heartbeatMs } = this.settings.timing;
    this.#candidate = { report, dialled, decideAt: now.mono + HEARTBEATS_TO_DECIDE * heartbeatMs };
  }

  /** Not at once: a network that is whole again lets a report through before the first heartbeats. */
  #decide(roster: Roster, now: Instant): void {
    const candidate = this.#candidate;
    if (candidate === undefined || now.mono < candidate.decideAt) return;
    this.#candidate = undefined;
    if (!this.mayResign(roster, candidate.report, candidate.dialled)) return;
    this.resigned = true;
    this.#effects.push({ type: 'resign', better: candidate.report.by });
  }

  /**
   * Whether the writer of a report would have more members as leader than this one has, and most members do not reach
   * this one: it does not resign for a few.
   */
  protected mayResign(
    roster: Pick<Roster, 'heardCount' | 'hears'>,
    report: UnreachableReport,
    dialled: boolean,
  ): boolean {
    const { by, reached } = report;
    if (this.resigned || roster.hears(by.incarnation)) return false;
    const unheard = reached.filter((incarnation) => !roster.hears(incarnation)).length + 1;
    return unheard > roster.heardCount && reached.length + (dialled ? 1 : 0) > roster.heardCount;
  }

  #publish(roster: Roster): void {
    const view = roster.view();
    this.#accept(view);
    const audience = roster.audience();
    this.#capacity.retain(new Set([...view.members, ...audience].map(({ incarnation }) => incarnation)));
    for (const member of audience) this.#sendView(member, view);
  }

  #sendView(to: MemberId, view: View): void {
    this.#capacity.markSent(to.incarnation);
    this.#effects.push({ type: 'send-view', to, view, spaces: this.#capacity.spaces });
  }

  // As follower

  #heardLeader(from: MemberId, epoch: bigint, answers: boolean, now: Instant): void {
    const leader = this.#leader;
    if (leader?.epoch !== epoch || leader.member.incarnation !== from.incarnation || this.#roster !== undefined) return;
    this.#reporter = false;
    if (this.#contact.heard(answers, now)) this.#effects.push({ type: 'contact-restored' });
  }

  #checkContact({ member, epoch }: ConfirmedLeader, now: Instant): void {
    const { self, timing, random } = this.settings;
    if (!this.#hasLeader) return;
    if (this.#contact.check(now)) {
      this.#effects.push({ type: 'contact-lost', leader: member });
      this.#nextReport = now.mono + (random() * timing.heartbeatTimeoutMs) / 2;
    }
    // A client cannot lead, so it does not help that it reaches others.
    if (!this.#contact.lost || self.address === '') return;
    if (this.#reporter) this.#effects.push({ type: 'confirm-leader' });
    if (now.mono < this.#nextReport) return;
    this.#nextReport = now.mono + 2 * timing.heartbeatTimeoutMs;
    const others = (this.accepted?.members ?? [])
      .filter(({ incarnation }) => incarnation !== self.incarnation && incarnation !== member.incarnation)
      .map(({ address, incarnation }) => ({ address, incarnation }));
    this.#effects.push({ type: 'report-unreachable', epoch, others });
  }

  protected received(from: MemberId, view: View): void {
    if (from.incarnation !== view.leader.incarnation || this.#roster !== undefined) return;
    if (this.accepted !== undefined && !isLater(view, this.accepted)) return;
    const leader = this.#leader;
    if (leader?.epoch === view.epoch && leader.member.incarnation === from.incarnation) return this.#accept(view);
    if (leader !== undefined && view.epoch <= leader.epoch) return;
    if (this.#unconfirmed !== undefined && !isLater(view, this.#unconfirmed)) return;
    this.#unconfirmed = view;
    this.#effects.push({ type: 'confirm-leader' });
  }

  /** With the view that is accepted now, or an earlier sending of it. */
  #spacesAre(from: MemberId, view: View, spaces: FreeSpaces): void {
    const { accepted } = this;
    if (this.#roster !== undefined || from.incarnation !== accepted?.leader.incarnation) return;
    if (view.epoch === accepted.epoch && view.version === accepted.version) {
      this.#capacity.replace(spaces, this.settings.self.incarnation);
    }
  }

  #unreachable(member: MemberId, now: Instant): void {
    if (this.#roster !== undefined || this.#leader?.member.incarnation !== member.incarnation) return;
    const { retryMs, heartbeatMs } = this.settings.timing;
    this.#failures += 1;
    const pauseMs = backoffMs(this.#failures, Math.min(retryMs, heartbeatMs), heartbeatMs, this.settings.random());
    this.#nextBeat = now.mono + pauseMs;
  }

  #accept(view: View): void {
    this.#failures = 0;
    this.accepted = view;
  }
}
