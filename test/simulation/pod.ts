import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { RetentionRunner } from '../../libs/hedge/src/kv/retention/retention.runner.js';
import { InputQueue } from '../../libs/hedge/src/common/async/input-queue.js';
import type { Membership, MembershipEffect, MembershipInput } from '../../libs/hedge/src/membership/membership.core.js';
import { mayHandOver } from '../../libs/hedge/src/membership/hand-overs.js';
import { ReportTurns, type StampedReport } from '../../libs/hedge/src/membership/report-turns.js';
import type { View } from '../../libs/hedge/src/membership/view.js';
import { holdsLease, type LeaseContender, type Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import type { LeaderBelief, LeaderRoute } from '../../libs/hedge/src/messaging/leader-route.js';
import type { Cluster } from './cluster.js';
import { ELECTION } from './database.js';
import type { DriverCall, SimulatedDriver } from './driver.js';
import type { Believer } from './leadership-oracle.js';
import { MainThread, type Machine } from './machine.js';
import { PodExpiry } from './pod-expiry.js';
import { PodJobs, type JobHost } from './pod-jobs.js';
import { PodLocks } from './pod-locks.js';
import { PodMessaging, type MessagingHost } from './pod-messaging.js';
import { PodReads } from './pod-reads.js';
import type { PodRenewer } from './pod-renewer.js';
import { podRetention } from './pod-retention.js';
import { PodSemaphores } from './pod-semaphores.js';
import { PodWatches } from './pod-watches.js';
import { violated } from './violation.js';

const DRAIN_MS = 1_000;
/** As in `LeaderElector`. */
const SETTINGS = { checksSelf: true, readsFirst: true };

/** One incarnation of a pod: the real cores, with the simulation instead of their runners. */
export class Pod implements Believer, MessagingHost, JobHost, LeaderRoute {
  readonly election: LeaseContender;
  readonly membership: Membership;
  readonly messaging: PodMessaging;
  readonly reads: PodReads;
  readonly watches: PodWatches;
  readonly retention: RetentionRunner;
  readonly expiry: PodExpiry;
  readonly locks: PodLocks;
  readonly jobs: PodJobs;
  readonly semaphores: PodSemaphores;
  readonly driver: SimulatedDriver;
  readonly main: MainThread;
  /** With `renewal: 'worker'`. */
  readonly renewer: PodRenewer | undefined;
  readonly #reportTurns: ReportTurns;
  alive = true;
  /** Some pods have version 0.1, which gets whole views. */
  readonly acceptsChanges: boolean;
  #known: LeaderBelief | undefined;
  readonly #inputs = new InputQueue<ContenderInput>((input) => this.#handle(input));
  #cancelWake: () => void = () => undefined;
  #cancelBeat: () => void = () => undefined;
  #refreshes: { readonly after: number; readonly done: () => void }[] = [];
  #view: View | undefined;
  /** When the last announcement of a renewal was sent, by the clocks of its sender. */
  #announcedAt: Instant = { mono: 0, wall: 0 };
  readonly #startedAt: number;
  #stopping = false;

  constructor(
    readonly self: MemberId,
    readonly machine: Machine,
    private readonly cluster: Cluster,
    readonly appVersion: string | undefined,
  ) {
    this.#startedAt = machine.now().wall;
    const { parts, timing, random, maxStallMs, olderPods } = cluster;
    this.main = new MainThread(machine, cluster.world);
    const makeDriver = (): SimulatedDriver =>
      parts.driver(
        cluster.database,
        parts.observer(),
        () => machine.now(),
        timing.leaseMs,
        cluster.semaphoreTiming.permitMs,
        self.address,
      );
    this.driver = makeDriver();
    if (maxStallMs !== undefined) this.renewer = parts.podRenewer(this, cluster, makeDriver, maxStallMs);
    this.acceptsChanges = !olderPods || random.chance(0.9);
    const { observes } = this.driver;
    const { renewer } = this;
    const renewed = renewer && ((token: bigint) => renewer.renewed(ELECTION, token));
    this.election = parts.election({
      self,
      timing,
      observes,
      campaigns: true,
      ...SETTINGS,
      renewed,
      random: random.next,
    });
    this.membership = parts.membership({ self, timing, appVersion, random: random.next });
    this.#reportTurns = new ReportTurns(self);
    this.messaging = new PodMessaging(this, cluster);
    this.semaphores = new PodSemaphores(this, this.messaging, cluster);
    this.watches = new PodWatches(this, this.messaging, cluster);
    this.reads = new PodReads(this, cluster);
    this.retention = podRetention(this, cluster);
    this.expiry = new PodExpiry(this, cluster);
    this.messaging.expiry = this.expiry;
    this.locks = new PodLocks(this, cluster);
    this.jobs = new PodJobs(this, this.messaging, cluster);
  }

  start(): void {
    this.renewer?.start();
    this.elect({ type: 'tick' });
  }

  /** As `kill -9`. */
  die(): void {
    this.alive = false;
    this.cluster.semaphores.died(this.self);
    this.cluster.fenced.died(this.self);
    this.cluster.links.cut(this.self.address);
  }

  now(): Instant {
    return this.machine.now();
  }

  /** Runs an action when the machine resumes, unless the process has died by then. */
  run(action: () => void): void {
    if (!this.alive) return;
    this.main.deliver(() => {
      if (this.alive) action();
    });
  }

  after(ms: number, action: () => void): () => void {
    return this.main.after(ms, () => {
      if (this.alive) action();
    });
  }

  // LeaseContender

  get term(): Term | undefined {
    return this.alive ? this.election.currentTerm : undefined;
  }

  get believes(): boolean {
    const { term } = this;
    return term !== undefined && holdsLease(term, this.cluster.timing, this.machine.now());
  }

  get route(): LeaderRoute {
    return this;
  }

  current(): LeaderBelief | undefined {
    return this.#known?.self === true && !this.#isLeader() ? undefined : this.#known;
  }

  leads(epoch: bigint): boolean {
    return this.election.currentTerm?.token === epoch && this.#isLeader();
  }

  refresh(): Promise<void> {
    this.elect({ type: 'refresh' });
    return Promise.resolve();
  }

  /** As `refresh`, with a callback instead of a promise. */
  refreshThen(done: () => void): void {
    const waiting = { after: this.election.attempts, done };
    this.#refreshes.push(waiting);
    this.after(2 * this.cluster.timing.backendTimeoutMs, () => {
      if (!this.#refreshes.includes(waiting)) return;
      this.#refreshes = this.#refreshes.filter((other) => other !== waiting);
      done();
    });
    this.elect({ type: 'refresh' });
  }

  onChange(): () => void {
    return () => undefined;
  }

  elect(input: ContenderInput): void {
    if (input.type === 'stop') this.#stopping = true;
    this.#inputs.push(input);
  }

  linkClosed(member: MemberId): void {
    this.elect({ type: 'link-closed', member });
  }

  #announce(to: MemberId, { token, renewals }: LeaseMarker): void {
    const sentAt = this.machine.now();
    this.sendTo(to, (pod) => {
      pod.heard(token);
      pod.#announcedAt = sentAt;
      pod.elect({ type: 'renewal-announced', from: this.self, marker: { token, renewals } });
    });
  }

  #handle(input: ContenderInput): void {
    for (const effect of this.election.step(input, this.machine.now())) {
      if (this.#stopping && (effect.type === 'check-self' || effect.type === 'acquire'))
        violated('H1', `${this.self.incarnation} campaigns while it stops`);
      this.#perform(effect);
    }
    if ('attempt' in input) this.#refreshed(input.attempt);
  }

  #isLeader(): boolean {
    const { term } = this;
    if (term === undefined) return false;
    if (this.believes) return true;
    // The application has seen it.
    this.cluster.leadership.deposed(this.self, term.token);
    this.renewer?.drop(ELECTION, term.token);
    this.elect({ type: 'lapsed', token: term.token });
    return false;
  }

  #refreshed(attempt: number): void {
    const waiting = this.#refreshes;
    this.#refreshes = waiting.filter(({ after }) => after >= attempt);
    for (const { after, done } of waiting) if (after < attempt) done();
  }

  #perform(effect: ContenderEffect): void {
    const { cluster, self } = this;
    const { world, timing, random } = cluster;
    const claim = { holder: self, leaseMs: timing.leaseMs };
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.after(effect.afterMs, () => this.elect({ type: 'tick' }));
        return;
      case 'read': {
        const { attempt } = effect;
        world.count('election: lease read');
        return this.#call(this.driver.read(ELECTION), (record) => ({ type: 'read', attempt, record }));
      }
      case 'acquire': {
        const { attempt } = effect;
        return this.#call(this.driver.acquire(ELECTION, claim), (result) => ({ type: 'acquired', attempt, result }));
      }
      case 'renew': {
        const { attempt, token } = effect;
        return this.#call(this.driver.renew(ELECTION, claim, token, BigInt(attempt)), (result) => ({
          type: 'renewed',
          attempt,
          result,
        }));
      }
      case 'release': {
        const { attempt, token } = effect;
        return this.#call(this.driver.release(ELECTION, self, token), (released) => ({
          type: 'released',
          attempt,
          released,
        }));
      }
      case 'check-self': {
        const reached = !random.chance(0.02);
        if (!reached) world.count('election: own address failed');
        const { attempt } = effect;
        return void this.after(random.between(0.5, 10), () => this.elect({ type: 'self-checked', attempt, reached }));
      }
      case 'drain':
        world.count('election: drained');
        this.messaging.drain(effect.token);
        this.semaphores.draining();
        this.jobs.step({ type: 'draining', token: effect.token });
        return this.#awaitDrain(effect.token, DRAIN_MS);
      case 'announce-released':
        for (const pod of cluster.pods()) {
          if (pod !== this) this.sendTo(pod.self, (to) => to.#released(effect.token, effect.successor));
        }
        return;
      case 'announce-renewed':
        world.count('election: lease renewed');
        for (const pod of cluster.pods()) if (pod !== this) this.#announce(pod.self, effect.marker);
        return;
      case 'observe-renewal':
        world.count('election: renewal announced');
        return this.driver.observeRenewal(ELECTION, effect.marker, this.#announcedAt);
      case 'lease-acquired':
        world.count('election: won');
        world.note(self.incarnation, () => `leads with ${effect.token}`);
        cluster.leadership.elected(self, effect.token);
        cluster.fenced.holds(
          'leadership',
          self,
          { database: cluster.database, name: ELECTION, token: effect.token },
          () => this.leads(effect.token),
        );
        this.renewer?.hold(ELECTION, effect, false, () => this.elect({ type: 'tick' }));
        this.semaphores.elected(effect.token);
        this.retention.elected(effect.token);
        this.expiry.elected(effect.token, this.membership.view);
        return this.jobs.step({ type: 'elected', token: effect.token });
      case 'lease-lost':
        this.renewer?.drop(ELECTION, effect.token);
        world.count(`election: lost, ${effect.reason}`);
        world.note(self.incarnation, () => `lost ${effect.token}: ${effect.reason}`);
        cluster.leadership.deposed(self, effect.token);
        this.semaphores.ended();
        this.retention.ended();
        this.expiry.step({ type: 'ended' });
        return this.jobs.step({ type: 'deposed', token: effect.token });
      case 'holder-changed': {
        const { holder } = effect;
        const leader = holder && { member: holder.member, epoch: holder.token };
        const own = leader?.member.incarnation === self.incarnation;
        this.#known = leader && { leader: leader.member, epoch: leader.epoch, self: own };
        this.messaging.leaderChanged();
        this.watches.leaderChanged();
        return this.#belong({ type: 'leader', leader });
      }
      case 'left':
        return this.#leave();
    }
  }

  #call<Answer, Result>(
    { effect, result }: DriverCall<Answer, Result>,
    input: (result: Result | undefined) => ContenderInput & { readonly attempt: number },
  ): void {
    this.cluster.connection.call(this.main, this.driver.call(effect), (outcome) => {
      if (!this.alive) return;
      const answer = outcome.type === 'done' ? outcome.result : undefined;
      if (answer === 'replaced') {
        this.cluster.world.count('database: found to be another one');
        this.driver.replaced();
      }
      this.elect(input(answer === undefined || answer === 'replaced' ? undefined : result(answer)));
    });
  }

  #released(token: bigint, successor: string | undefined): void {
    this.heard(token);
    this.elect({ type: 'lease-released', token, successor });
  }

  /** As `LeaderElector.heard`. */
  heard(epoch: bigint): void {
    this.driver.heard(ELECTION, epoch);
    this.renewer?.heard(ELECTION, epoch);
  }

  #awaitDrain(token: bigint, leftMs: number): void {
    if (leftMs <= 0 || !(this.messaging.working || this.jobs.busy)) {
      const successor = this.membership.successor(this.machine.now());
      if (successor !== undefined) this.cluster.world.count('membership: successor named');
      return this.elect({ type: 'drained', token, successor: successor?.incarnation });
    }
    this.after(20, () => this.#awaitDrain(token, leftMs - 20));
  }

  #leave(): void {
    this.cluster.world.note(this.self.incarnation, () => 'left');
    for (const pod of this.cluster.pods()) {
      if (pod !== this) this.sendTo(pod.self, (to) => to.#belong({ type: 'leave', from: this.self }));
    }
    this.locks.close();
    this.watches.close();
    this.messaging.close();
    this.die();
  }

  // Membership

  #belong(input: MembershipInput): void {
    if (input.type === 'heartbeat') this.heard(input.epoch);
    if (input.type === 'view') this.heard(input.view.epoch);
    if (input.type === 'view-changes') this.heard(input.changes.epoch);
    for (const effect of this.membership.step(input, this.machine.now())) this.#performBelonging(effect);
    const { view } = this.membership;
    if (view === undefined || view === this.#view) return;
    this.expiry.membersChanged(view);
    this.cluster.world.count('membership: view accepted');
    this.cluster.world.note(this.self.incarnation, () => `view ${view.epoch}/${view.version}: ${view.members.length}`);
    this.cluster.leadership.accepted(this.self, view, this.#view);
    const present = new Set(view.members.map(({ incarnation }) => incarnation));
    for (const { address, incarnation } of this.#view?.members ?? []) {
      if (!present.has(incarnation)) this.messaging.departed({ address, incarnation });
    }
    this.#view = view;
  }

  #performBelonging(effect: MembershipEffect): void {
    switch (effect.type) {
      case 'wake':
        this.#cancelBeat();
        this.#cancelBeat = this.after(effect.afterMs, () => this.#belong({ type: 'tick' }));
        return;
      case 'send-heartbeat': {
        const { to, epoch, version, space, edition } = effect;
        const { acceptsChanges } = this;
        const ready = !this.#stopping && !this.cluster.notReady.has(this.self.address);
        const heartbeat = {
          type: 'heartbeat',
          from: this.self,
          epoch,
          version,
          space,
          edition,
          acceptsChanges,
          candidate: ready ? { appVersion: this.appVersion ?? '', startedAt: this.#startedAt } : undefined,
        } as const;
        return this.sendTo(to, (pod) => {
          if (pod.believes && pod.term !== undefined) pod.#announce(this.self, pod.term);
          pod.locks.heartbeat(this.self, acceptsChanges);
          pod.#belong(heartbeat);
        });
      }
      case 'answer-heartbeat': {
        const { to, epoch, version } = effect;
        return this.sendTo(to, (pod) => pod.#belong({ type: 'heartbeat', from: this.self, epoch, version }));
      }
      case 'send-view':
        this.cluster.world.count('membership: members sent', effect.view.members.length);
        return this.sendView(effect.to, effect.view);
      case 'send-changes': {
        const { to, changes, capacity } = effect;
        this.cluster.world.count('membership: changes sent');
        this.cluster.world.count('membership: members sent', changes.changed.length + changes.removed.length);
        const received = { type: 'view-changes', from: this.self, changes, capacity } as const;
        return this.sendTo(to, (pod) => pod.#belong(received));
      }
      case 'confirm-leader':
        return void this.refresh();
      case 'report-unreachable':
        return this.#report(effect.epoch, effect.others);
      case 'read-reports':
        return this.#readReports(effect.epoch);
      case 'resign':
        this.cluster.world.note(this.self.incarnation, () => `resigns for ${effect.better.incarnation}`);
        this.cluster.world.count('membership: resigned for a member that reaches more');
        return this.elect({ type: 'resign', unreachable: true });
      case 'claim-hand-over':
        return this.#claimHandOver(effect);
      case 'hand-over':
        this.cluster.world.note(this.self.incarnation, () => `hands over to ${effect.appVersion}`);
        this.cluster.world.count(`membership: handed over to version ${effect.appVersion}`);
        return this.elect({ type: 'resign' });
      case 'members-silent':
      case 'members-heard':
      case 'contact-lost':
      case 'contact-restored':
        this.cluster.world.count(`membership: ${effect.type}`);
        return this.cluster.world.note(this.self.incarnation, () => effect.type);
    }
  }

  /** As `UnreachableReports.write`. */
  #report(epoch: bigint, others: readonly MemberId[]): void {
    this.#readReport((last) => {
      const another = this.#reportTurns.ofAnother(last, epoch);
      if (this.#reportTurns.passes || !ReportTurns.mayReachMore(another, others)) return;
      this.#probe(others, (reached) => {
        if (!ReportTurns.writes(another, reached)) return;
        this.cluster.connection.call(
          this.main,
          () => this.cluster.database.report({ epoch, by: this.self, reached }),
          (outcome) => {
            if (this.alive && outcome.type === 'done') this.#belong({ type: 'reported', epoch });
          },
        );
      });
    });
  }

  /** As `UnreachableReports.read`. */
  #readReports(epoch: bigint): void {
    this.#readReport((last) => {
      const { stamp = '', report } = last ?? {};
      if (report?.epoch !== epoch) return this.#belong({ type: 'reports-read', stamp, dialled: false });
      this.#probe([report.by], (reached) =>
        this.#belong({ type: 'reports-read', stamp, report, dialled: reached.length > 0 }),
      );
    });
  }

  #readReport(done: (last: StampedReport | undefined) => void): void {
    const { connection, database } = this.cluster;
    connection.call(
      this.main,
      () => database.lastReport,
      (outcome) => {
        if (this.alive && outcome.type === 'done') done(outcome.result);
      },
    );
  }

  /** As `HandOvers.claim`. */
  #claimHandOver({ epoch, to, appVersion }: MembershipEffect & { readonly type: 'claim-hand-over' }): void {
    const { connection, database } = this.cluster;
    const claimed = (granted: boolean): void =>
      this.#belong({ type: 'hand-over-claimed', epoch, to, appVersion, granted });
    this.#probe([to], (reached) => {
      if (reached.length === 0) return;
      connection.call(
        this.machine,
        () => database.lastHandOver,
        (read) => {
          if (!this.alive || read.type !== 'done') return;
          if (!mayHandOver(read.result, { epoch, appVersion })) return claimed(false);
          connection.call(
            this.machine,
            () => database.handOver({ epoch, appVersion }),
            (written) => {
              if (this.alive && written.type === 'done' && written.result) claimed(true);
            },
          );
        },
      );
    });
  }

  /** Finds the members that answer a dial. */
  #probe(members: readonly MemberId[], done: (reached: readonly string[]) => void): void {
    const { network, random } = this.cluster;
    const answers = ({ address, incarnation }: MemberId): boolean => {
      const pod = this.cluster.pod(address);
      const runs = pod?.alive === true && pod.self.incarnation === incarnation && !pod.machine.frozen;
      return runs && !network.separated(this.self.address, address) && !network.breaks();
    };
    this.after(random.skewed(1, 300), () => done(members.filter(answers).map(({ incarnation }) => incarnation)));
  }

  sendView(to: MemberId, view: View): void {
    this.sendTo(to, (pod) => pod.#belong({ type: 'view', from: this.self, view, answers: true }));
  }

  /** Sends a datagram to that incarnation. Sometimes the sender is notified that it is unreachable. */
  sendTo(member: MemberId, arrive: (pod: Pod) => void): void {
    const { network, random } = this.cluster;
    const gone = this.cluster.pod(member.address)?.self.incarnation !== member.incarnation;
    if (gone || network.separated(this.self.address, member.address)) {
      if (random.chance(0.7)) this.after(random.skewed(1, 300), () => this.#belong({ type: 'unreachable', member }));
      return;
    }
    network.datagram(this.self.address, member.address, () => {
      const pod = this.cluster.pod(member.address);
      if (pod?.self.incarnation === member.incarnation) pod.run(() => arrive(pod));
    });
  }
}
