import { longestElapsed, type Clock, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import { InputQueue } from '../common/async/input-queue.js';
import type { Logger } from '../common/line-logger.js';
import type { Timing } from '../common/timing.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { RefusalLog } from '../transport/handshake/refusal-log.js';
import { type FrameBody, type Link, notify, type Transport } from '../transport/transport.js';
import { logContact } from './contact-log.js';
import type { Candidate as WireCandidate } from '../wire/hedge/v1/link.js';
import { Membership, type MembershipEffect, type MembershipInput } from './membership.core.js';
import type { FreeSpace, FreeSpaces } from './capacity-table.js';
import type { HandOvers } from './hand-overs.js';
import type { Candidate } from './succession.js';
import type { UnreachableReports } from './unreachable-reports.js';
import { describeMembers } from './members-log.js';
import { capacityFromWire, changesFromWire, changesToWire, viewFromWire, viewToWire, type View } from './view.js';

export interface MembershipRunnerOptions {
  readonly transport: Pick<Transport, 'self' | 'dial' | 'dialled' | 'linked' | 'links'>;
  readonly route: LeaderRoute & { resign(): Promise<void>; resignUnreachable(): Promise<void> };
  readonly reports: Pick<UnreachableReports, 'read' | 'write'>;
  readonly handOvers: Pick<HandOvers, 'claim'>;
  /** As `MembershipSettings`. */
  readonly appVersion?: string | undefined;
  /** Called for each heartbeat; undefined while this member is not ready to lead. */
  readonly candidate: () => Candidate | undefined;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly logger: Pick<Logger, 'log' | 'warn'>;
  /** For jitter. */
  readonly random?: () => number;
}

/**
 * The membership of one process: performs the effects of the `Membership` core on links and timers.
 *
 * The owner of the transport's one listener forwards the frames heartbeat, view and leave, and closed links.
 *
 * @example
 * const membership = new MembershipRunner({ transport, route: elector, reports, clock: systemClock, timing, logger });
 * membership.start(); // once the transport listens
 * membership.onChange(() => console.log(membership.view?.members));
 * await elector.stop();
 * membership.stop();
 */
export class MembershipRunner {
  readonly #options: MembershipRunnerOptions;
  #membership: Membership | undefined;
  readonly #inputs = new InputQueue<MembershipInput>((input) => this.#handle(input));
  #stopped = false;
  #stopFollowing: () => void = () => undefined;
  /** Of the reports on the present leader. Aborted when this member is in contact with a leader again. */
  #reporting = new AbortController();
  #cancelWake: () => void = () => undefined;
  /** The view of the last log line. */
  #logged: View | undefined;
  /** When `settled` was last seen to turn false. */
  #unsettledSince: Instant | undefined;
  readonly #listeners = new Set<() => void>();

  /** Bounds the rate of log lines about malformed views. */
  readonly #malformed: RefusalLog;

  constructor(options: MembershipRunnerOptions) {
    this.#options = options;
    const { logger, clock } = options;
    this.#malformed = new RefusalLog(
      { warn: (line, fields) => logger.warn(line, fields), error: (line) => logger.warn(line) },
      clock,
    );
  }

  /** The latest accepted view; undefined before the first. It stays while the group has no leader. */
  get view(): View | undefined {
    return this.#membership?.view;
  }

  /** Whether the view is complete: it is settled, and of the present leader. */
  get settled(): boolean {
    return this.#membership?.settled ?? false;
  }

  /** Milliseconds since `settled` turned false; 0 while it is true, Infinity before it was true for the first time. */
  get unsettledForMs(): number {
    if (this.settled) return 0;
    if (this.#unsettledSince === undefined) return Infinity;
    return longestElapsed(this.#unsettledSince, this.#options.clock.now());
  }

  /** The capacity that the members advertise, by incarnation. It changes without a call of `onChange`. */
  get spaces(): FreeSpaces {
    return this.#membership?.spaces ?? new Map();
  }

  /** As leader: the member to which to hand over; undefined when no other member is ready to lead. */
  successor(): MemberId | undefined {
    return this.#membership?.successor(this.#options.clock.now());
  }

  /** Advertises the capacity of this member with the next heartbeat. Call it after a notable change. */
  advertise(space: FreeSpace): void {
    this.#step({ type: 'space', space });
  }

  /** Idempotent. */
  start(): void {
    if (this.#membership !== undefined || this.#stopped) return;
    const { transport, timing, appVersion, route, random = Math.random } = this.#options;
    this.#membership = new Membership({ self: transport.self, timing, appVersion, random });
    this.#stopFollowing = route.onChange(() => this.#followLeader());
    this.#followLeader();
  }

  /** Sends `leave` to every peer, and stops. Links stay open. Idempotent. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopFollowing();
    this.#reporting.abort();
    this.#cancelWake();
    for (const link of this.#options.transport.links()) notify(link, { $case: 'leave', value: {} });
  }

  /** Calls back after every change of `view` or `settled`. Returns a function that unsubscribes. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** To call with every received frame. True when it belongs to membership. */
  frame(link: Link, body: FrameBody): boolean {
    const from = link.peer;
    if (body.$case === 'heartbeat') {
      const { epoch, version, spill: space, acceptsChanges, capacityEdition: edition } = body.value;
      const candidate = body.value.candidate && candidateFromWire(body.value.candidate);
      this.#step({ type: 'heartbeat', from, epoch, version, space, acceptsChanges, edition, candidate });
    } else if (body.$case === 'view') {
      const view = viewFromWire(body.value);
      const { answersHeartbeats: answers, members, capacityEdition } = body.value;
      const capacity = capacityFromWire(members, capacityEdition);
      if (view !== undefined) this.#step({ type: 'view', from, view, capacity, answers });
      else this.#malformed.warn(from.address, `Ignored a malformed view from ${from.address}`);
    } else if (body.$case === 'viewChanges') {
      const changes = changesFromWire(body.value);
      const capacity = capacityFromWire(body.value.changed, body.value.capacityEdition, body.value.capacityBase);
      if (changes !== undefined) this.#step({ type: 'view-changes', from, changes, capacity });
      else this.#malformed.warn(from.address, `Ignored malformed changes of a view from ${from.address}`);
    } else if (body.$case === 'leave') {
      this.#step({ type: 'leave', from });
    } else {
      return false;
    }
    return true;
  }

  /** To call when a link has closed. */
  linkClosed(link: Link): void {
    if (link.direction === 'dialled') this.#step({ type: 'unreachable', member: link.peer });
  }

  #followLeader(): void {
    const belief = this.#options.route.current();
    this.#step({ type: 'leader', leader: belief && { member: belief.leader, epoch: belief.epoch } });
  }

  #step(input: MembershipInput): void {
    if (this.#membership === undefined || this.#stopped) return;
    const settledBefore = this.#membership.settled;
    const viewBefore = this.#membership.view;
    if (!this.#inputs.push(input)) return;
    if (settledBefore && !this.settled) this.#unsettledSince = this.#options.clock.now();
    if (this.#membership.view !== viewBefore || this.#membership.settled !== settledBefore) this.#notify();
  }

  #handle(input: MembershipInput): void {
    for (const effect of this.#membership?.step(input, this.#options.clock.now()) ?? []) this.#perform(effect);
  }

  #perform(effect: MembershipEffect): void {
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.#options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'send-heartbeat': {
        const { epoch, version, space: spill, edition: capacityEdition } = effect;
        const candidate = this.#options.candidate();
        const value = {
          epoch,
          version,
          spill,
          acceptsChanges: true,
          capacityEdition,
          candidate: candidate && { appVersion: candidate.appVersion, startedAtMs: candidate.startedAt },
        };
        return this.#sendHeartbeat(effect.to, { $case: 'heartbeat', value });
      }
      case 'answer-heartbeat': {
        const { epoch, version } = effect;
        const value = {
          epoch,
          version,
          spill: undefined,
          acceptsChanges: true,
          capacityEdition: 0,
          candidate: undefined,
        };
        return this.#sendTo(effect.to, { $case: 'heartbeat', value });
      }
      case 'send-view':
        return this.#sendTo(effect.to, { $case: 'view', value: viewToWire(effect.view, effect.capacity) });
      case 'send-changes': {
        const { to, changes, capacity } = effect;
        return this.#sendTo(to, { $case: 'viewChanges', value: changesToWire(changes, capacity) });
      }
      case 'confirm-leader':
        return void this.#options.route.refresh();
      case 'report-unreachable':
        return void this.#ask(() => this.#options.reports.write(effect.epoch, effect.others, this.#reporting.signal));
      case 'read-reports':
        return void this.#ask(() => this.#options.reports.read(effect.epoch));
      case 'resign':
        logContact(effect, this.#options);
        return void this.#options.route.resignUnreachable();
      case 'claim-hand-over': {
        const { epoch, to, appVersion } = effect;
        return void this.#ask(() => this.#options.handOvers.claim(epoch, to, appVersion));
      }
      case 'hand-over':
        this.#options.logger.log(
          `This leader resigns: ${effect.to.address} is ready and has the newer version ${effect.appVersion}. This pod has ${this.#options.appVersion}.`,
        );
        return void this.#options.route.resign();
      case 'members-silent':
      case 'members-heard':
      case 'contact-lost':
        this.#reporting = new AbortController();
        return logContact(effect, this.#options);
      case 'contact-restored':
        this.#reporting.abort();
        return logContact(effect, this.#options);
    }
  }

  /** A failure of the database is logged by the election, and the core asks again. */
  async #ask(call: () => Promise<MembershipInput | undefined>): Promise<void> {
    const input = await call().catch(() => undefined);
    if (input !== undefined) this.#step(input);
  }

  /**
   * Sends over an open link, in either direction. Without one the member gets the frame later: it dials its leader, and
   * its next heartbeat shows that it has an older view. So a new leader does not dial all members.
   */
  #sendTo(member: MemberId, body: FrameBody): void {
    const link = this.#options.transport.linked(member);
    if (link !== undefined) notify(link, body);
  }

  #sendHeartbeat(leader: MemberId, body: FrameBody): void {
    const { transport } = this.#options;
    // Only over a link that this member has dialled, as for its requests: a leader that it cannot dial is out of reach.
    const open = transport.dialled(leader);
    if (open !== undefined) return void notify(open, body);
    if (leader.address === '') return;
    transport.dial(leader).then(
      (link) => void notify(link, body),
      () => this.#step({ type: 'unreachable', member: leader }),
    );
  }

  #notify(): void {
    this.#log();
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        this.#options.logger.warn(`A listener for changes of the members threw: ${String(error)}`);
      }
    }
  }

  /** Logs how the members have changed since the last line. */
  #log(): void {
    if (this.view === undefined) return;
    const line = describeMembers(this.#logged, this.view);
    if (line === undefined) return;
    this.#options.logger.log(line, { event: 'members.changed', members: this.view.members.length });
    this.#logged = this.view;
  }
}

function candidateFromWire({ appVersion, startedAtMs }: WireCandidate): Candidate {
  return { appVersion, startedAt: startedAtMs };
}
