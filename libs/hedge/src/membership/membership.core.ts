import { backoffMs } from '../common/backoff.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import { LeaderContact } from './leader-contact.js';
import { type AdvertisedCapacity, CapacityTable, type FreeSpace, type FreeSpaces } from './capacity-table.js';
import { Roster } from './roster.js';
import { type Candidate, compareAppVersions, newestOf } from './succession.js';
import { ViewUpdates, type ViewUpdate } from './view-updates.js';
import { applyChanges, isLater, type View, type ViewChanges } from './view.js';

export interface MembershipSettings {
  readonly self: MemberId;
  readonly timing: Pick<Timing, 'leaseMs' | 'heartbeatMs' | 'heartbeatTimeoutMs' | 'retryMs'>;
  /** The option `preferNewest.appVersion`: as leader, this member hands over to one of a newer version. */
  readonly appVersion?: string | undefined;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** Heartbeats between a report and the resignation. If the network has healed, heartbeats arrive in this time. */
const HEARTBEATS_TO_DECIDE = 3;
/** Of more members than that, the first reports are spread over a longer time. */
const REPORTERS_AT_ONCE = 16;
/** A leader reads the reports once in so many heartbeat timeouts, and in each one while most members are silent. */
const TIMEOUTS_BETWEEN_READS = 4;
/** The highest number of views that a leader publishes in one heartbeat interval. Changes in between share a version. */
const VIEWS_PER_HEARTBEAT = 5;

/** The leader, as the lease in the database names it. */
export interface ConfirmedLeader {
  readonly member: MemberId;
  readonly epoch: bigint;
}

/** Written to the database by a member that cannot reach its leader, for that leader to read. */
export interface UnreachableReport {
  /** The term in which the leader could not be reached. */
  readonly epoch: bigint;
  readonly by: MemberId;
  /** The incarnations of the other members that `by` has reached. */
  readonly reached: readonly string[];
}

export type MembershipInput =
  | { readonly type: 'tick' }
  /** The election knows another leader, or none. Never from a message of a peer. */
  | { readonly type: 'leader'; readonly leader?: ConfirmedLeader }
  | {
      readonly type: 'heartbeat';
      readonly from: MemberId;
      readonly epoch: bigint;
      readonly version: number;
      /** The capacity that the sender advertises. */
      readonly space?: FreeSpace | undefined;
      /** The sender understands `ViewChanges`. */
      readonly acceptsChanges?: boolean;
      /** The edition of the capacities that the sender has. */
      readonly edition?: number;
      /** Present while the sender is ready to lead. */
      readonly candidate?: Candidate | undefined;
    }
  | {
      readonly type: 'view';
      readonly from: MemberId;
      readonly view: View;
      readonly capacity?: AdvertisedCapacity;
      /** The sender answers heartbeats. */
      readonly answers?: boolean;
    }
  | {
      readonly type: 'view-changes';
      readonly from: MemberId;
      readonly changes: ViewChanges;
      readonly capacity: AdvertisedCapacity;
    }
  /** The result of `report-unreachable`; absent when the report failed or was left to another member. */
  | { readonly type: 'reported'; readonly epoch: bigint }
  /**
   * The result of `read-reports`: the last report of the group, if any. `stamp` differs from report to report.
   * `dialled`: this leader has reached the member that wrote the report.
   */
  | {
      readonly type: 'reports-read';
      readonly stamp: string;
      readonly report?: UnreachableReport;
      readonly dialled: boolean;
    }
  /**
   * The result of `claim-hand-over`: whether this term may hand over to that version. Absent when the claim failed.
   */
  | {
      readonly type: 'hand-over-claimed';
      readonly epoch: bigint;
      readonly to: MemberId;
      readonly appVersion: string;
      readonly granted: boolean;
    }
  /** The capacity of this member has changed. */
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
      readonly edition: number;
    }
  | ViewUpdate
  /** The answer of a leader to a heartbeat. */
  | { readonly type: 'answer-heartbeat'; readonly to: MemberId; readonly epoch: bigint; readonly version: number }
  /** The leader has not answered for the heartbeat timeout. */
  | { readonly type: 'contact-lost'; readonly leader: MemberId }
  /** The leader answers again, or another pod leads. */
  | { readonly type: 'contact-restored' }
  /** Dial these members, and write an `UnreachableReport` for the leader of that term. */
  | { readonly type: 'report-unreachable'; readonly epoch: bigint; readonly others: readonly MemberId[] }
  /** As leader: more members are silent than heard. */
  | { readonly type: 'members-silent'; readonly silent: readonly MemberId[]; readonly heard: number }
  | { readonly type: 'members-heard' }
  /** As leader: read the report of a member that cannot reach a leader. */
  | { readonly type: 'read-reports'; readonly epoch: bigint }
  /** As leader: another member reaches more members than this one. Have the election resign. */
  | { readonly type: 'resign'; readonly better: MemberId }
  /** As leader: dial a member of a newer version, and claim the hand-over to that version in the database. */
  | { readonly type: 'claim-hand-over'; readonly epoch: bigint; readonly to: MemberId; readonly appVersion: string }
  /** As leader: have the election resign, for a member of a newer version. */
  | { readonly type: 'hand-over'; readonly to: MemberId; readonly appVersion: string }
  /** Have the election read the lease: a peer names a later term, or the leader is out of reach. */
  | { readonly type: 'confirm-leader' }
  /** Send a `tick` after that time. Replaces any earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number };

/**
 * The state machine of one member in the group's membership, without clock, timers or I/O. `MembershipRunner` performs
 * its effects; the simulation drives it with faults.
 *
 * A leader keeps the roster and pushes views. Another member sends heartbeats to the leader and accepts its views. It
 * accepts a view only if the leader of that view sent it, the lease in the database names that leader for that epoch,
 * and the view is later than the accepted one (M1).
 */
export class Membership {
  /** The last known leader. */
  #leader: ConfirmedLeader | undefined;
  /**
   * False while no leader is known. Heartbeats still go to the last leader, because it may be that only this pod cannot
   * read the lease.
   */
  #hasLeader = false;
  #roster: Roster | undefined;
  #updates: ViewUpdates | undefined;
  /** As leader: monotonic time of the last view. */
  #publishedAt = -Infinity;
  /** As leader: the roster has changed since the last view. */
  #unpublished = false;
  protected accepted: View | undefined;
  /** The latest view of a term that the lease has not confirmed. */
  #unconfirmed: View | undefined;
  /**
   * Members that left or were replaced, with the time. They are not admitted again for one heartbeat timeout, in which
   * their last messages arrive. It is no longer, because the replaced member may be the live one.
   */
  readonly #gone = new Map<string, Instant>();
  readonly #capacity = new CapacityTable();
  #failures = 0;
  #nextBeat: number | undefined;
  readonly #contact: LeaderContact;
  /** Monotonic time of the next `report-unreachable`. */
  #nextReport = 0;
  /** This member has reported the present leader: it reads the lease often, to campaign after a resignation. */
  #reporter = false;
  /** As leader: `mostSilent` as last reported. */
  #mostSilent = false;
  /** As leader: monotonic time of the next `read-reports`. */
  #nextReportsRead = 0;
  /** The stamp of the last report read in this term: a report from before this term does not count. */
  #stamp: string | undefined;
  /** A report after which this leader may have to resign, and the monotonic time to decide. */
  #pendingReport:
    { readonly report: UnreachableReport; readonly dialled: boolean; readonly decideAt: number } | undefined;
  /** This member has resigned for one that reaches more, and no other pod has led since then. */
  protected resigned = false;
  /** As leader: monotonic time of the next `claim-hand-over`. */
  #nextClaim = 0;
  /** The newest version to which this group has handed over, as far as this member knows. */
  #handedOverTo = '';
  #effects: MembershipEffect[] = [];

  constructor(private readonly settings: MembershipSettings) {
    this.#contact = new LeaderContact(settings.timing.heartbeatTimeoutMs);
  }

  get view(): View | undefined {
    return this.accepted;
  }

  /** Whether the view is complete: it is settled, and of the present leader, which answers. */
  get settled(): boolean {
    return (
      this.#hasLeader &&
      !this.#contact.lost &&
      this.accepted?.settled === true &&
      this.accepted.epoch === this.#leader?.epoch
    );
  }

  /** The capacity that each member advertised last. It changes within a view. */
  get spaces(): FreeSpaces {
    return this.#capacity.spaces;
  }

  /**
   * As leader: the member to which to hand over, of those that are ready to lead. The one that started last, because in a
   * rolling update the pods that start last stay; with `appVersion`, one of the newest version.
   */
  successor(now: Instant): MemberId | undefined {
    const candidates = this.#roster?.candidates(0, now) ?? [];
    return newestOf(candidates, this.settings.appVersion !== undefined)?.member;
  }

  step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    if (this.#nextBeat !== undefined && now.mono >= this.#nextBeat) this.#beat(now);
    if (this.#roster !== undefined && now.mono >= this.#publishAt) this.#publish(this.#roster, now);
    if (this.#nextBeat !== undefined) {
      this.#effects.push({ type: 'wake', afterMs: Math.min(this.#nextBeat, this.#publishAt) - now.mono });
    }
    return this.#effects;
  }

  /** As leader: monotonic time of the next view. */
  get #publishAt(): number {
    if (!this.#unpublished) return Infinity;
    return this.#publishedAt + this.settings.timing.heartbeatMs / VIEWS_PER_HEARTBEAT;
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
        if (input.capacity !== undefined) this.#capacityIs(input.from, input.view, input.capacity, true);
        return;
      case 'view-changes':
        return this.#changesReceived(input, now);
      case 'reported':
        this.#reporter = this.#contact.lost && input.epoch === this.#leader?.epoch;
        return;
      case 'reports-read':
        return this.#reportsRead(input, now);
      case 'hand-over-claimed':
        return this.#handOverClaimed(input, now);
      case 'space':
        return this.#capacity.record(this.settings.self.incarnation, input.space);
      case 'leave':
        this.#gone.set(input.from.incarnation, now);
        if (this.#roster?.left(input.from, now) === true) this.#unpublished = true;
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
      this.#unpublished = false;
      return;
    }
    if (leader.epoch === this.#leader?.epoch) return;
    this.#leader = leader;
    this.#roster = undefined;
    this.#unpublished = false;
    this.#capacity.begin();
    this.#failures = 0;
    if (this.#contact.begin(now)) this.#effects.push({ type: 'contact-restored' });
    this.#reporter = this.#mostSilent = false;
    this.#stamp = this.#pendingReport = undefined;
    this.#nextBeat = now.mono;
    const { self, timing } = this.settings;
    if (leader.member.incarnation === self.incarnation) {
      const { heartbeatTimeoutMs } = timing;
      const gone = (member: MemberId): boolean => this.#gone.has(member.incarnation);
      this.#contact.end();
      this.#nextReportsRead = now.mono + heartbeatTimeoutMs;
      this.#nextClaim = 0;
      this.#roster = new Roster({ self, epoch: leader.epoch, heartbeatTimeoutMs }, this.accepted, gone, now);
      this.#updates = new ViewUpdates(this.#roster, this.#capacity);
      this.#publish(this.#roster, now);
      return;
    }
    this.resigned = false;
    if (this.#unconfirmed !== undefined) {
      const view = this.#unconfirmed;
      this.#unconfirmed = undefined;
      this.received(view.leader, view);
    }
  }

  /** Runs once per heartbeat interval: a leader drops silent members, another member sends its heartbeat. */
  #beat(now: Instant): void {
    const { heartbeatMs, heartbeatTimeoutMs } = this.settings.timing;
    this.#nextBeat = now.mono + heartbeatMs;
    for (const [incarnation, at] of this.#gone) {
      if (shortestElapsed(at, now) >= heartbeatTimeoutMs) this.#gone.delete(incarnation);
    }
    if (this.#roster !== undefined) {
      if (this.#roster.tick(now)) this.#unpublished = true;
      this.#checkSilence(this.#roster, now);
      this.#checkVersions(this.#roster, now);
    } else if (this.#leader !== undefined) {
      this.#checkContact(this.#leader, now);
      const { epoch, version } = this.accepted ?? { epoch: 0n, version: 0 };
      const space = this.#capacity.spaces.get(this.settings.self.incarnation);
      const edition = this.#capacity.received;
      this.#effects.push({ type: 'send-heartbeat', to: this.#leader.member, epoch, version, space, edition });
    }
  }

  // As leader

  #heard(from: MemberId, heartbeat: MembershipInput & { readonly type: 'heartbeat' }, now: Instant): void {
    const { epoch, version, space, acceptsChanges = false, edition = 0 } = heartbeat;
    const [roster, leader] = [this.#roster, this.#leader];
    if (roster === undefined || leader === undefined) return this.#heardLeader(from, epoch, true, now);
    if (epoch > leader.epoch) this.#effects.push({ type: 'confirm-leader' });
    if (this.#gone.has(from.incarnation)) return;
    const predecessor = roster.predecessorOf(from);
    if (predecessor !== undefined) this.#gone.set(predecessor.incarnation, now);
    this.#capacity.record(from.incarnation, space);
    const state = epoch === leader.epoch ? { version, edition } : { version: 0, edition: 0 };
    this.#updates?.reported(from.incarnation, { ...state, acceptsChanges });
    if (roster.heard(from, now)) this.#unpublished = true;
    else if (this.accepted !== undefined && !this.#unpublished) this.#update([from], this.accepted);
    roster.readyToLead(from, heartbeat.candidate, now);
    const answer = this.accepted ?? { epoch: 0n, version: 0 };
    this.#effects.push({ type: 'answer-heartbeat', to: from, epoch: answer.epoch, version: answer.version });
  }

  /** Reports when most members fall silent and when they are heard again, and reads the reports of members. */
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
    // Also while nobody is silent: some members may never have reached this leader.
    const { heartbeatTimeoutMs } = this.settings.timing;
    this.#nextReportsRead = now.mono + (mostSilent ? 1 : TIMEOUTS_BETWEEN_READS) * heartbeatTimeoutMs;
    this.#effects.push({ type: 'read-reports', epoch: this.#leader.epoch });
  }

  #reportsRead({ stamp, report, dialled }: MembershipInput & { readonly type: 'reports-read' }, now: Instant): void {
    const before = this.#stamp;
    this.#stamp = stamp;
    if (report === undefined || before === undefined || before === stamp || report.epoch !== this.#leader?.epoch)
      return;
    const { heartbeatMs } = this.settings.timing;
    this.#pendingReport = { report, dialled, decideAt: now.mono + HEARTBEATS_TO_DECIDE * heartbeatMs };
  }

  /** Decides after a delay: in a network that has just healed, a report can arrive before the first heartbeats. */
  #decide(roster: Roster, now: Instant): void {
    const pending = this.#pendingReport;
    if (pending === undefined || now.mono < pending.decideAt) return;
    this.#pendingReport = undefined;
    if (!this.mayResign(roster, pending.report, pending.dialled)) return;
    this.resigned = true;
    this.#effects.push({ type: 'resign', better: pending.report.by });
  }

  /**
   * Whether the reporter would have more members as leader than this one has, and most members do not reach this one:
   * the leader does not resign for a few.
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

  /** A member that has been ready for a heartbeat timeout does not fail in its first moments. */
  #checkVersions(roster: Roster, now: Instant): void {
    const { appVersion: own, timing } = this.settings;
    if (own === undefined || this.#leader === undefined || now.mono < this.#nextClaim) return;
    const newest = newestOf(roster.candidates(timing.heartbeatTimeoutMs, now), true);
    if (newest === undefined) return;
    const { member: to, appVersion } = newest;
    if (compareAppVersions(appVersion, own) <= 0 || compareAppVersions(appVersion, this.#handedOverTo) <= 0) return;
    this.#nextClaim = now.mono + timing.heartbeatTimeoutMs;
    this.#effects.push({ type: 'claim-hand-over', epoch: this.#leader.epoch, to, appVersion });
  }

  #handOverClaimed(
    { epoch, to, appVersion, granted }: MembershipInput & { readonly type: 'hand-over-claimed' },
    now: Instant,
  ): void {
    if (this.#roster === undefined || epoch !== this.#leader?.epoch) return;
    if (!granted) {
      // Another term has handed over to this version. The leadership moves back only when this leader stops.
      this.#handedOverTo = appVersion;
      return;
    }
    const isReady = this.#roster.candidates(0, now).some(({ member }) => member.incarnation === to.incarnation);
    if (!isReady) return;
    this.#nextClaim = Infinity;
    this.#effects.push({ type: 'hand-over', to, appVersion });
  }

  #publish(roster: Roster, now: Instant): void {
    this.#unpublished = false;
    this.#publishedAt = now.mono;
    const view = roster.view();
    this.#accept(view);
    const audience = roster.audience();
    const known = new Set([...view.members, ...audience].map(({ incarnation }) => incarnation));
    this.#capacity.retain(known);
    this.#updates?.retain(known);
    this.#update(audience, view);
  }

  #update(members: readonly MemberId[], view: View): void {
    for (const update of this.#updates?.updates(members, view) ?? []) this.#effects.push(update);
  }

  // As follower

  #heardLeader(from: MemberId, epoch: bigint, answers: boolean, now: Instant): void {
    const leader = this.#leader;
    if (leader?.epoch !== epoch || leader.member.incarnation !== from.incarnation || this.#roster !== undefined) return;
    this.#reporter = false;
    if (this.#contact.heard(answers, now)) this.#effects.push({ type: 'contact-restored' });
  }

  #checkContact({ member, epoch }: ConfirmedLeader, now: Instant): void {
    const { self, timing } = this.settings;
    if (!this.#hasLeader) return;
    if (this.#contact.check(now)) {
      this.#effects.push({ type: 'contact-lost', leader: member });
      this.#nextReport = now.mono + this.#firstReportMs();
    }
    // A client cannot lead, so its reach does not matter.
    if (!this.#contact.lost || self.address === '') return;
    if (this.#reporter) this.#effects.push({ type: 'confirm-leader' });
    if (now.mono < this.#nextReport) return;
    this.#nextReport = now.mono + 2 * timing.heartbeatTimeoutMs;
    const others = (this.accepted?.members ?? [])
      .filter(({ incarnation }) => incarnation !== self.incarnation && incarnation !== member.incarnation)
      .map(({ address, incarnation }) => ({ address, incarnation }));
    this.#effects.push({ type: 'report-unreachable', epoch, others });
  }

  /**
   * The time from the loss of contact to the first report. A report costs a dial to each other member, so a leader whose
   * lease may just run out, as after a crash, is not reported yet. In a large group the first reports are further apart,
   * because the others leave the row to the first.
   */
  #firstReportMs(): number {
    const { timing, random } = this.settings;
    const { leaseMs, heartbeatMs, heartbeatTimeoutMs } = timing;
    const leaseLeftMs = Math.max(0, leaseMs - heartbeatTimeoutMs) + heartbeatMs;
    const members = this.accepted?.members.length ?? 0;
    return leaseLeftMs + ((random() * heartbeatTimeoutMs) / 2) * Math.max(1, members / REPORTERS_AT_ONCE);
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

  #changesReceived(
    { from, changes, capacity }: MembershipInput & { readonly type: 'view-changes' },
    now: Instant,
  ): void {
    this.#heardLeader(from, changes.epoch, true, now);
    const view = this.applied(changes);
    if (view !== undefined) {
      this.received(from, view);
      this.#capacityIs(from, view, capacity, false);
    } else if (from.incarnation === this.#leader?.member.incarnation && changes.epoch === this.#leader.epoch) {
      // The heartbeat reports the version that this member has.
      this.#nextBeat = now.mono;
    }
  }

  /** The accepted view after the changes; undefined when they do not complete it. */
  protected applied(changes: ViewChanges): View | undefined {
    return this.accepted && applyChanges(this.accepted, changes);
  }

  /** Accepts capacities that were sent with the accepted view, also with an earlier copy of it. */
  #capacityIs(from: MemberId, view: View, capacity: AdvertisedCapacity, all: boolean): void {
    const { accepted } = this;
    if (this.#roster !== undefined || from.incarnation !== accepted?.leader.incarnation) return;
    if (view.epoch === accepted.epoch && view.version === accepted.version) {
      this.#capacity.accept(capacity, all, this.settings.self.incarnation);
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
