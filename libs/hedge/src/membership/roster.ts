import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Candidate, CandidateMember } from './succession.js';
import { sortByAddress, type View, type ViewChanges } from './view.js';

interface Listed {
  readonly member: MemberId;
  confirmed: boolean;
  heardAt: Instant;
  /** The version in which this entry was new or changed last. */
  changedIn: number;
  /** Present while the member is ready to lead, with the time since when it is. */
  ready?: { readonly candidate: Candidate; readonly since: Instant } | undefined;
}

/** The number of removed members that are remembered, for `changesSince`. */
const MOST_REMOVED = 1_000;

/** A silent member is remembered for this many heartbeat timeouts, and longer while most members are silent. */
const REMEMBERED_TIMEOUTS = 10;

export interface RosterSettings {
  readonly self: MemberId;
  readonly epoch: bigint;
  readonly heartbeatTimeoutMs: number;
}

/**
 * The leader's list of the members of the group, in one term. Pure.
 *
 * It starts from the last view, whose members count as unconfirmed until the leader hears from them. If that view was
 * settled, the roster is settled once all members are confirmed. Else it is settled after `heartbeatTimeoutMs` at the
 * earliest: by then every live member has been heard.
 *
 * Clients are listed because the leader sends them views. They are in no view.
 */
export class Roster {
  /** By address; a newer incarnation replaces an older one. Does not contain the own address. */
  readonly #members = new Map<string, Listed>();
  /** By incarnation. */
  readonly #clients = new Map<string, Listed>();
  /** Members that were dropped because they were not heard, by address, with the time of the drop. */
  readonly #silent = new Map<string, { readonly member: MemberId; readonly since: Instant }>();
  readonly #startedAt: Instant;
  #tickedAt: Instant;
  #version = 1;
  /** In the order of their removal. */
  #removed: { readonly incarnation: string; readonly version: number }[] = [];
  /** The earliest version for which `#removed` is complete. */
  #earliestBase = 1;
  #settled = false;
  readonly #settlesEarly: boolean;

  constructor(
    private readonly settings: RosterSettings,
    inherited: View | undefined,
    gone: (member: MemberId) => boolean,
    now: Instant,
  ) {
    this.#startedAt = now;
    this.#tickedAt = now;
    for (const { address, incarnation } of inherited?.members ?? []) {
      if (address === settings.self.address || gone({ address, incarnation })) continue;
      this.#members.set(address, { member: { address, incarnation }, confirmed: false, heardAt: now, changedIn: 1 });
    }
    this.#settlesEarly = inherited?.settled ?? false;
    this.#settle(now);
  }

  /** Records whether a member is ready to lead. Call it after `heard`. */
  readyToLead({ address, incarnation }: MemberId, candidate: Candidate | undefined, now: Instant): void {
    const listed = this.#members.get(address);
    if (listed?.member.incarnation !== incarnation) return;
    listed.ready = candidate && { candidate, since: listed.ready?.since ?? now };
  }

  /** The members that have been ready to lead for that time at least. */
  candidates(readyForMs: number, now: Instant): CandidateMember[] {
    return [...this.#members.values()].flatMap(({ member, ready }) =>
      ready === undefined || shortestElapsed(ready.since, now) < readyForMs ? [] : [{ member, ...ready.candidate }],
    );
  }

  /** Records a sign of life. True when the view changed. */
  heard(from: MemberId, now: Instant): boolean {
    if (from.address === '') {
      this.#clients.set(from.incarnation, { member: from, confirmed: true, heardAt: now, changedIn: 0 });
      return false;
    }
    if (from.address === this.settings.self.address) return false;
    this.#silent.delete(from.address);
    const listed = this.#members.get(from.address);
    if (listed?.member.incarnation === from.incarnation) {
      listed.heardAt = now;
      if (listed.confirmed) return false;
      listed.confirmed = true;
      listed.changedIn = this.#version + 1;
    } else {
      if (listed !== undefined) this.#noteRemoved(listed.member);
      this.#members.set(from.address, { member: from, confirmed: true, heardAt: now, changedIn: this.#version + 1 });
    }
    return this.#changed(now);
  }

  /** Another incarnation that is listed at the address of a new member, which replaces it. */
  predecessorOf(member: MemberId): MemberId | undefined {
    const listed = this.#members.get(member.address)?.member;
    return listed?.incarnation === member.incarnation ? undefined : listed;
  }

  /** True when the view changed. */
  left(member: MemberId, now: Instant): boolean {
    this.#clients.delete(member.incarnation);
    if (this.#silent.get(member.address)?.member.incarnation === member.incarnation) {
      this.#silent.delete(member.address);
    }
    if (this.#members.get(member.address)?.member.incarnation !== member.incarnation) return false;
    this.#members.delete(member.address);
    this.#noteRemoved(member);
    return this.#changed(now);
  }

  /** Drops members that were not heard for the heartbeat timeout. True when the view changed. */
  tick(now: Instant): boolean {
    const { heartbeatTimeoutMs } = this.settings;
    // After a stall, this process has not read the signs of life of the others yet.
    const stoodStill = shortestElapsed(this.#tickedAt, now) > heartbeatTimeoutMs / 2;
    this.#tickedAt = now;
    let changed = false;
    for (const list of [this.#members, this.#clients]) {
      for (const [key, listed] of list) {
        if (shortestElapsed(listed.heardAt, now) < heartbeatTimeoutMs) continue;
        if (stoodStill) {
          listed.heardAt = { ...now, mono: now.mono - heartbeatTimeoutMs / 2 };
        } else {
          list.delete(key);
          if (list !== this.#members) continue;
          changed = true;
          this.#noteRemoved(listed.member);
          this.#silent.set(key, { member: listed.member, since: now });
        }
      }
    }
    if (!this.mostSilent) this.#forgetSilent(now);
    if (changed) return this.#changed(now);
    return !this.#settled && this.#settle(now) && this.#changed(now);
  }

  /** Members other than the leader that were heard lately. */
  get heardCount(): number {
    let count = 0;
    for (const { confirmed } of this.#members.values()) if (confirmed) count += 1;
    return count;
  }

  hears(incarnation: string): boolean {
    for (const { member, confirmed } of this.#members.values()) {
      if (member.incarnation === incarnation) return confirmed;
    }
    return false;
  }

  /** Members that were dropped because they were not heard. */
  get silent(): MemberId[] {
    return [...this.#silent.values()].map(({ member }) => member);
  }

  /** More members are silent than heard: they have crashed, or they cannot reach this leader. */
  get mostSilent(): boolean {
    return this.#silent.size > this.heardCount;
  }

  view(): View {
    const { self, epoch } = this.settings;
    const members = [...this.#members.values()].map(({ member, confirmed }) => ({ ...member, confirmed }));
    members.push({ ...self, confirmed: true });
    return { epoch, version: this.#version, settled: this.#settled, leader: self, members: sortByAddress(members) };
  }

  /** The changes from that version of this term to the present one; undefined when the view must be sent as a whole. */
  changesSince(base: number): ViewChanges | undefined {
    if (base < this.#earliestBase || base > this.#version) return undefined;
    const changed = [...this.#members.values()].filter(({ changedIn }) => changedIn > base);
    return {
      epoch: this.settings.epoch,
      version: this.#version,
      base,
      settled: this.#settled,
      changed: changed.map(({ member, confirmed }) => ({ ...member, confirmed })),
      removed: this.#removed.filter(({ version }) => version > base).map(({ incarnation }) => incarnation),
    };
  }

  /** All members and clients, to which the leader sends views. */
  audience(): MemberId[] {
    return [...this.#members.values(), ...this.#clients.values()].map(({ member }) => member);
  }

  /** A member that is silent for long has most likely ended, and no longer counts. */
  #forgetSilent(now: Instant): void {
    const { heartbeatTimeoutMs } = this.settings;
    for (const [address, { since }] of this.#silent) {
      if (shortestElapsed(since, now) >= REMEMBERED_TIMEOUTS * heartbeatTimeoutMs) this.#silent.delete(address);
    }
  }

  #noteRemoved({ incarnation }: MemberId): void {
    this.#removed.push({ incarnation, version: this.#version + 1 });
    if (this.#removed.length <= MOST_REMOVED) return;
    this.#earliestBase = this.#removed[MOST_REMOVED / 2 - 1]?.version ?? this.#version;
    this.#removed = this.#removed.slice(MOST_REMOVED / 2);
  }

  #changed(now: Instant): true {
    this.#settle(now);
    this.#version += 1;
    return true;
  }

  #settle(now: Instant): boolean {
    const confirmed = [...this.#members.values()].every((listed) => listed.confirmed);
    const waited = shortestElapsed(this.#startedAt, now) >= this.settings.heartbeatTimeoutMs;
    this.#settled ||= confirmed && (this.#settlesEarly || waited);
    return this.#settled;
  }
}
