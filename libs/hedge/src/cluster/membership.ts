import { backoffMs } from '../common/backoff.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import { FreeSpaceBoard, type FreeSpace, type FreeSpaces } from './free-space.js';
import { Roster } from './roster.js';
import { isLater, type View } from './view.js';

export interface MembershipSettings {
  readonly self: MemberId;
  readonly timing: Pick<Timing, 'heartbeatMs' | 'heartbeatTimeoutMs' | 'retryMs'>;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** Who leads, as the lease in the database says. */
export interface ConfirmedLeader {
  readonly member: MemberId;
  readonly epoch: bigint;
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
  | { readonly type: 'view'; readonly from: MemberId; readonly view: View; readonly spaces?: FreeSpaces }
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
  /** A peer speaks of a later term: have the election read the lease. */
  | { readonly type: 'confirm-leader' }
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number };

/**
 * One member's part in the group's membership, as a state machine without clock, timers or I/O.
 * `ViewKeeper` performs it; the simulation drives it with faults.
 *
 * As leader it keeps the roster and pushes views; else it sends heartbeats to the leader and takes its
 * views. A view counts only when its own leader sent it, the lease in the database names that leader for
 * that epoch, and it is later than the one here (M1).
 */
export class Membership {
  /** The last leader known. */
  #leader: ConfirmedLeader | undefined;
  /** False while nobody is known to lead; heartbeats still go to the last one, in case only this pod cannot tell. */
  #led = false;
  #roster: Roster | undefined;
  protected accepted: View | undefined;
  /** The latest view of a term that the lease has not confirmed. */
  #unconfirmed: View | undefined;
  /**
   * Members that left or were replaced, and when. They are not taken in again for one heartbeat timeout, in
   * which their last messages arrive; no longer, because it may have been the replaced one that lives.
   */
  readonly #gone = new Map<string, Instant>();
  readonly #board = new FreeSpaceBoard();
  #failures = 0;
  #nextBeat: number | undefined;
  #effects: MembershipEffect[] = [];

  constructor(private readonly settings: MembershipSettings) {}

  get view(): View | undefined {
    return this.accepted;
  }

  /** Whether the view is complete as far as anybody can know: settled, and of the leader of now. */
  get settled(): boolean {
    return this.#led && this.accepted?.settled === true && this.accepted.epoch === this.#leader?.epoch;
  }

  /** What each member lends to spill stores, as far as known. Changes within a view. */
  get spaces(): FreeSpaces {
    return this.#board.spaces;
  }

  step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    this.#effects = [];
    this.#take(input, now);
    if (this.#nextBeat !== undefined && now.mono >= this.#nextBeat) this.#beat(now);
    if (this.#nextBeat !== undefined) {
      this.#effects.push({ type: 'wake', afterMs: this.#nextBeat - now.mono });
    }
    return this.#effects;
  }

  #take(input: MembershipInput, now: Instant): void {
    switch (input.type) {
      case 'tick':
        return;
      case 'leader':
        return this.#leaderIs(input.leader, now);
      case 'heartbeat':
        return this.#heard(input.from, input, now);
      case 'view':
        this.received(input.from, input.view);
        if (input.spaces !== undefined) this.#spacesAre(input.from, input.view, input.spaces);
        return;
      case 'space':
        return this.#board.note(this.settings.self.incarnation, input.space);
      case 'leave':
        this.#gone.set(input.from.incarnation, now);
        if (this.#roster?.left(input.from, now) === true) this.#publish(this.#roster);
        return;
      case 'unreachable':
        return this.#unreachable(input.member, now);
    }
  }

  #leaderIs(leader: ConfirmedLeader | undefined, now: Instant): void {
    this.#led = leader !== undefined;
    if (leader === undefined) {
      if (this.#roster !== undefined) this.#leader = this.#nextBeat = undefined;
      this.#roster = undefined;
      return;
    }
    if (leader.epoch === this.#leader?.epoch) return;
    this.#leader = leader;
    this.#roster = undefined;
    this.#failures = 0;
    this.#nextBeat = now.mono;
    const { self, timing } = this.settings;
    if (leader.member.incarnation === self.incarnation) {
      const { heartbeatTimeoutMs } = timing;
      const gone = (member: MemberId): boolean => this.#gone.has(member.incarnation);
      this.#roster = new Roster({ self, epoch: leader.epoch, heartbeatTimeoutMs }, this.accepted, gone, now);
      this.#publish(this.#roster);
    } else if (this.#unconfirmed !== undefined) {
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
    } else if (this.#leader !== undefined) {
      const { epoch, version } = this.accepted ?? { epoch: 0n, version: 0 };
      const space = this.#board.spaces.get(this.settings.self.incarnation);
      this.#effects.push({ type: 'send-heartbeat', to: this.#leader.member, epoch, version, space });
    }
  }

  // As leader

  #heard(from: MemberId, has: { epoch: bigint; version: number; space?: FreeSpace | undefined }, now: Instant): void {
    if (this.#roster === undefined) return;
    if (this.#leader !== undefined && has.epoch > this.#leader.epoch) this.#effects.push({ type: 'confirm-leader' });
    if (this.#gone.has(from.incarnation)) return;
    const predecessor = this.#roster.predecessorOf(from);
    if (predecessor !== undefined) this.#gone.set(predecessor.incarnation, now);
    this.#board.note(from.incarnation, has.space);
    if (this.#roster.heard(from, now)) this.#publish(this.#roster);
    else if (this.accepted !== undefined && (isLater(this.accepted, has) || !this.#board.isTold(from.incarnation))) {
      this.#sendView(from, this.accepted);
    }
  }

  #publish(roster: Roster): void {
    const view = roster.view();
    this.#accept(view);
    const audience = roster.audience();
    this.#board.retain(new Set([...view.members, ...audience].map(({ incarnation }) => incarnation)));
    for (const member of audience) this.#sendView(member, view);
  }

  #sendView(to: MemberId, view: View): void {
    this.#board.tell(to.incarnation);
    this.#effects.push({ type: 'send-view', to, view, spaces: this.#board.spaces });
  }

  // As follower

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
      this.#board.replace(spaces, this.settings.self.incarnation);
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
