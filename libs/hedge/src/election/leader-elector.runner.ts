import { withTokenInJson } from '../common/token-in-json.js';
import type { LeaseTable } from '../database/lease-table.js';
import { cannotFence, failTransaction, fencedTransactions } from '../database/fenced-transactions.js';
import type { LeaseMarker } from '../database/observed-lease.js';
import { leaseName } from '../database/row-names.js';
import type { UserTransactions } from '../database/user-transactions.js';
import { abortInFreshContext } from '../common/async/async-context.js';
import { longestElapsed, type Clock, type Instant } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import { InputQueue } from '../common/async/input-queue.js';
import type { Timing } from '../common/timing.js';
import { LeaseContender, holdsLease, type Term } from '../lease/lease-contender.core.js';
import type {
  ContenderCall,
  ContenderEffect,
  ContenderInput,
  LeaseHolder,
  LossReason,
} from '../lease/lease-contender.messages.js';
import { LeaseCalls, type CallInput } from '../lease/lease-calls.js';
import { isExpiry, LossCause } from '../lease/loss-cause.js';
import { OutageLogger } from '../lease/outage-logger.js';
import type { TermRenewer } from '../lease/renewal/term-renewer.js';
import type { LeaderBelief, LeaderRoute } from '../messaging/leader-route.js';
import { notify, type FrameBody, type Link, type Transport } from '../transport/transport.js';
import type { Leadership, LeadershipSource } from './leadership.js';
import { checkSelf } from './self-check.js';
import { guardedController } from '../common/async/guarded-signal.js';
import { beginSpan, type OpenSpan } from '../telemetry/tracing.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';
import { outcomeOf, renewalMargin, reportRenewal } from '../lease/renewal/report-renewal.js';

export interface LeaderElectorOptions {
  readonly leases: LeaseTable;
  readonly transactions?: UserTransactions | undefined;
  readonly clock: Clock;
  readonly group: string;
  readonly timing: Timing;
  readonly logger: Pick<Logger, 'log' | 'warn'> & Partial<Pick<Logger, 'debug'>>;
  readonly transport: Pick<Transport, 'self' | 'dial' | 'links'>;
  /** False for a client: it follows and never leads. */
  readonly campaigns: boolean;
  /** Renews the lease on another thread. Default: this process renews it by `leases`, on its event loop. */
  readonly renewer?: TermRenewer | undefined;
  /** Called each time a lease or permit expires because it was not renewed, with words for the log. */
  readonly onExpired?: ((what: string) => void) | undefined;
  /** How long running leader work may continue once this pod resigns or stops, in milliseconds. */
  readonly drainMs: number;
  /** The member to which this pod hands over, as leader: see `Membership.successor`. */
  readonly successor?: () => MemberId | undefined;
  /** For jitter. */
  readonly random?: () => number;
  readonly metrics?: Metrics | undefined;
}

const LOSS_REASONS: Readonly<Record<LossReason, string>> = {
  'renew-deadline': 'the lease could not be renewed in time',
  expired: 'the lease expired while this process stalled',
  superseded: 'the database reports another holder or token for the lease',
  resigned: 'resigned',
  unreachable: 'resigned, because most members cannot reach this pod',
  stopped: 'stopping',
};

/**
 * The election of a group, as one process runs it: performs the effects of a `LeaseContender` on the lease table, on
 * timers and on the links.
 *
 * When the lease is lost, in this order: `isLeader()` turns false, the term's signal aborts, the `onChange` listeners
 * are called.
 *
 * @example
 * const elector = new LeaderElector({ leases: backend.lease, transport, clock: systemClock, group: 'orders', … });
 * elector.start(); // once the transport listens
 * elector.onElected(({ fencingToken, signal }) => …);
 * await elector.stop();
 */
export class LeaderElector implements LeaderRoute, LeadershipSource {
  readonly #options: LeaderElectorOptions;
  /** Row name of the lease. */
  readonly #lease: string;
  readonly #clock: Clock;
  readonly #calls: LeaseCalls;
  readonly #databaseOutage: OutageLogger;
  readonly #cause: LossCause;
  readonly #addressOutage: OutageLogger;
  #contender: LeaseContender | undefined;
  #term: { readonly leadership: Leadership; readonly scope: AbortController } | undefined;
  #known: LeaderBelief | undefined;
  /** The highest epoch that a peer has named. */
  #heard = 0n;
  readonly #inputs = new InputQueue<ContenderInput>((input) => this.#handle(input));
  #cancelWake: () => void = () => undefined;
  readonly #changeListeners = new Set<() => void>();
  readonly #electedListeners = new Set<(leadership: Leadership) => void>();
  readonly #drainListeners = new Set<(term: { readonly fencingToken: bigint }) => Promise<void>>();
  #refreshes: { readonly after: number; readonly done: () => void }[] = [];
  #handOvers: (() => void)[] = [];
  /** From the first attempt to acquire the lease until a leader is known. */
  #campaign: OpenSpan | undefined;
  #left: Promise<void> | undefined;
  #leave: () => void = () => undefined;
  /** This process will not lead again. */
  #stopped = false;
  #closed = false;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#clock = options.clock;
    const { leases, clock, timing, group, logger } = options;
    this.#lease = leaseName(group);
    this.#cause = new LossCause(timing);
    this.#databaseOutage = new OutageLogger({
      logger,
      failed: (message) => this.#cause.failed(message),
      begun: 'The lease cannot be read or written, retrying',
      over: 'The lease can be read and written again',
      what: 'database',
    });
    this.#addressOutage = new OutageLogger({
      logger,
      begun: 'This pod does not campaign',
      over: 'This pod campaigns again',
      what: 'campaign',
    });
    this.#calls = new LeaseCalls({ name: this.#lease, leases, clock, timing, outages: this.#databaseOutage });
  }

  /** Starts to follow and, unless a client, to campaign. Retries an unreachable database forever. Idempotent. */
  start(): void {
    if (this.#contender !== undefined || this.#left !== undefined) return;
    const { transport, timing, leases, campaigns, renewer, random = Math.random } = this.#options;
    this.#contender = new LeaseContender({
      self: transport.self,
      timing,
      observes: leases.observes,
      campaigns,
      checksSelf: true,
      readsFirst: true,
      renewed: renewer && ((token) => renewer.renewed(this.#lease, token)),
      random,
    });
    this.#step({ type: 'tick' });
  }

  /** L2, checked at each call, locally: no I/O, a fraction of a microsecond. */
  isLeader(): boolean {
    const term = this.#contender?.currentTerm;
    if (term === undefined || this.#closed) return false;
    if (holdsLease(term, this.#options.timing, this.#clock.now())) return true;
    // Makes the loss final, so that neither a late renewal nor a wall clock that is set back can revive the term.
    this.#options.renewer?.drop(this.#lease, term.token);
    this.#step({ type: 'lapsed', token: term.token });
    return false;
  }

  /** The token of the current term; undefined when this pod does not lead. */
  get fencingToken(): bigint | undefined {
    return this.isLeader() ? this.#contender?.currentTerm?.token : undefined;
  }

  /**
   * While this pod leads: how long it relies on the lease unless it is renewed, in milliseconds, and the number of the last
   * acknowledged renewal.
   */
  get heldLease(): { readonly leftMs: number; readonly renewals: bigint } | undefined {
    const term = this.isLeader() ? this.#contender?.currentTerm : undefined;
    if (term === undefined) return undefined;
    const { leaseMs, marginMs } = this.#options.timing;
    return { leftMs: leaseMs - marginMs - longestElapsed(term.validSince, this.#clock.now()), renewals: term.renewals };
  }

  /** The present term; undefined when this pod does not lead. */
  get leadership(): Leadership | undefined {
    return this.isLeader() ? this.#term?.leadership : undefined;
  }

  /** True while this pod resigns or stops: running leader work continues, and no new leader work may start. */
  get handingOver(): boolean {
    return this.#contender?.handingOver ?? false;
  }

  current(): LeaderBelief | undefined {
    return this.#known?.self === true && !this.isLeader() ? undefined : this.#known;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get trouble(): string | undefined {
    return this.#databaseOutage.outage;
  }

  leads(epoch: bigint): boolean {
    return this.#contender?.currentTerm?.token === epoch && this.isLeader();
  }

  refresh(): Promise<void> {
    const election = this.#contender;
    if (election === undefined || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      // The limit covers a delayed read, for example behind a release.
      const cancel = this.#clock.after(2 * this.#options.timing.backendTimeoutMs, () => resolve());
      this.#refreshes.push({ after: election.attempts, done: () => (cancel(), resolve()) });
      this.#step({ type: 'refresh' });
    });
  }

  /**
   * Asks the database whether the term of this process is still the latest one.
   * @throws HedgeError BACKEND_UNAVAILABLE when the database does not answer in time.
   */
  async confirmLeadership(): Promise<boolean> {
    const token = this.fencingToken;
    if (token === undefined) return false;
    const record = await this.#calls.read();
    this.#step({ type: 'observed', record });
    return record.token === token && this.leads(token);
  }

  /**
   * Steps down: starts no new leader work, waits for running work (at most `drainMs`), releases the lease and announces
   * that. This process campaigns again after another member has led, or after one lease. Resolves when the lease is
   * released, and at once when this pod does not lead.
   */
  resign(): Promise<void> {
    return this.#handOver({ type: 'resign' });
  }

  /** As `resign`, because most members cannot reach this process, and they reach another that can lead. */
  resignUnreachable(): Promise<void> {
    return this.#handOver({ type: 'resign', unreachable: true });
  }

  /**
   * As `resign`, and never campaigns again. The process follows the leader until `close`, so that it can send to the
   * next leader. Idempotent; never rejects.
   */
  stop(): Promise<void> {
    this.#stopped = true;
    if (this.#left === undefined) {
      this.#left = new Promise((resolve) => {
        this.#leave = resolve;
      });
      if (this.#contender === undefined) this.#leave();
      else this.#step({ type: 'stop' });
    }
    return this.#left;
  }

  /** Ends everything: the lease is no longer read. Call it after `stop`, or a held lease only expires. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#databaseOutage.close();
    this.#addressOutage.close();
    this.#cancelWake();
    this.#resolveRefreshes(Infinity);
    this.#lost('stopped');
    this.#endCampaign(new HedgeError('SHUTTING_DOWN', 'This pod is stopping'));
    for (const done of this.#handOvers.splice(0)) done();
    this.#leave();
  }

  /** To call when a Heartbeat frame arrives: announces the last renewal to that member once more, if this pod leads. */
  heartbeat(link: Link): void {
    const term = this.#contender?.currentTerm;
    if (term !== undefined && link.direction === 'accepted' && this.isLeader()) notify(link, renewed(term));
  }

  /** To call when a LeaseRenewed frame arrives. */
  leaseRenewed(from: MemberId, marker: LeaseMarker): void {
    const { leases } = this.#options;
    // Such a driver learns of renewals only by reads.
    if (leases.observes && leases.observeRenewal === undefined) return;
    this.#step({ type: 'renewal-announced', from, marker });
  }

  /** To call when a link that this pod has dialled has closed. */
  linkClosed(member: MemberId): void {
    this.#step({ type: 'link-closed', member });
  }

  /** To call when a LeaderReleased frame arrives. */
  leaderReleased(epoch: bigint, successor?: string): void {
    this.#step({ type: 'lease-released', token: epoch, successor });
  }

  /**
   * To call with every epoch that a peer names, before the frame is handled. The database may have lost that term: then
   * this process must not acquire the lease while that leader may rely on it.
   */
  heard(epoch: bigint): void {
    if (epoch <= this.#heard) return;
    this.#heard = epoch;
    const { leases, timing, renewer } = this.#options;
    leases.heard?.(this.#lease, epoch, timing.leaseMs);
    renewer?.heard(this.#lease, epoch, timing.leaseMs);
  }

  onChange(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  onElected(listener: (leadership: Leadership) => void): () => void {
    this.#electedListeners.add(listener);
    if (this.isLeader() && !this.handingOver && this.#term !== undefined) listener(this.#term.leadership);
    return () => this.#electedListeners.delete(listener);
  }

  onDrain(listener: (term: { readonly fencingToken: bigint }) => Promise<void>): () => void {
    this.#drainListeners.add(listener);
    return () => this.#drainListeners.delete(listener);
  }

  #step(input: ContenderInput): void {
    if (this.#closed || !this.#inputs.push(input)) return;
    if (!this.handingOver) for (const done of this.#handOvers.splice(0)) done();
  }

  #handle(input: ContenderInput): void {
    const now = this.#clock.now();
    this.#cause.stepped(now);
    const before = this.#contender?.currentTerm;
    const effects = this.#contender?.step(input, now) ?? [];
    for (const effect of effects) {
      if (effect.type === 'lease-lost') {
        this.#options.renewer?.drop(this.#lease, effect.token);
        this.#lost(effect.reason, before, now);
      } else this.#perform(effect, now);
    }
    this.#cause.holds(this.#contender?.currentTerm);
  }

  #perform(effect: Exclude<ContenderEffect, { type: 'lease-lost' }>, now: Instant): void {
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cause.timerSet(effect.afterMs, now);
        this.#cancelWake = this.#clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'read':
      case 'acquire':
      case 'renew':
      case 'release':
      case 'check-self':
        return void this.#call(effect).then((input) => {
          this.#step(input);
          this.#resolveRefreshes(input.attempt);
        });
      case 'drain':
        return void this.#drain(effect.token).then(() => this.#drained(effect.token));
      case 'announce-released':
        // A peer whose link has failed misses the announcement: it finds the free lease at its next read.
        return this.#announce(
          { $case: 'leaderReleased', value: { epoch: effect.token, successor: effect.successor ?? '' } },
          () => true,
        );
      case 'announce-renewed':
        // Each member that follows this pod has dialled it.
        return this.#announce(renewed(effect.marker), ({ direction }) => direction === 'accepted');
      case 'observe-renewal':
        return this.#options.leases.observeRenewal?.(this.#lease, effect.marker);
      case 'lease-acquired':
        this.#hold(effect);
        return this.#elected(effect.token);
      case 'holder-changed':
        return this.#leaderChanged(effect.holder);
      case 'left':
        return this.#leave();
    }
  }

  async #call(call: ContenderCall): Promise<CallInput> {
    const { transport } = this.#options;
    if (call.type === 'renew') return this.#renew(call);
    if (call.type === 'check-self' || call.type === 'acquire') {
      this.#campaign ??= beginSpan('hedge.election', { 'hedge.group': this.#options.group }, true);
    }
    if (call.type !== 'check-self') return this.#calls.perform(call, transport.self);
    const reached = await this.#addressOutage.watch(() => checkSelf(transport));
    return { type: 'self-checked', attempt: call.attempt, reached: reached === true };
  }

  /** A renewal that takes a quarter of its time or more is the first sign that the lease will be lost. */
  async #renew(call: ContenderCall & { type: 'renew' }): Promise<CallInput> {
    const { transport, timing, group, logger, metrics = NO_METRICS } = this.#options;
    const start = this.#clock.now();
    const validSince = this.#contender?.currentTerm?.validSince;
    const input = await this.#calls.perform(call, transport.self);
    const end = this.#clock.now();
    const ms = Math.round(end.mono - start.mono);
    if (input.type === 'renewed') {
      const margins = input.result?.renewed === true ? [renewalMargin(timing, validSince ?? start, end)] : [];
      reportRenewal(metrics, {
        lease: 'leader',
        ms: end.mono - start.mono,
        outcome: outcomeOf([input.result]),
        margins,
      });
    }
    if (4 * ms >= timing.renewDeadlineMs) {
      logger.debug?.(`The renewal of the lease of group ${group} took ${ms} ms of ${timing.renewDeadlineMs} ms`, {
        event: 'renewal.late',
        token: call.token,
        durationMs: ms,
        limitMs: timing.renewDeadlineMs,
      });
    }
    return input;
  }

  #resolveRefreshes(attempt: number): void {
    const waiting = this.#refreshes;
    this.#refreshes = waiting.filter(({ after }) => after >= attempt);
    for (const { after, done } of waiting) if (after < attempt) done();
  }

  #drain(fencingToken: bigint): Promise<void> {
    const { drainMs, logger } = this.#options;
    return new Promise((resolve) => {
      const cancel = this.#clock.after(drainMs, () => {
        logger.warn(
          `Leader work still runs after drainMs (${drainMs} ms): the lease is released without waiting for it`,
        );
        resolve();
      });
      const waits = [...this.#drainListeners].map(async (listener) => listener({ fencingToken }));
      void Promise.allSettled(waits).then(() => (cancel(), resolve()));
    });
  }

  /** Chooses the successor as late as possible: in a rolling update, pods come and go during the drain. */
  #drained(token: bigint): void {
    const successor = this.#options.successor?.();
    const { logger, group } = this.#options;
    if (successor !== undefined && this.leads(token)) {
      logger.log(`Handing the leadership of group ${group} over to ${successor.address}`, {
        event: 'leadership.handover',
        token,
        successor: successor.address,
      });
    }
    this.#step({ type: 'drained', token, successor: successor?.incarnation });
  }

  #handOver(input: ContenderInput): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#handOvers.push(resolve);
      this.#step(input);
    });
  }

  /** Fences a transaction by the present term. @throws HedgeError as `LeaderService.fence` */
  async fence(tx: unknown): Promise<void> {
    const { leadership } = this;
    if (leadership !== undefined) return leadership.fence(tx);
    const { transactions } = this.#options;
    if (transactions === undefined) throw cannotFence('The leader');
    await failTransaction(
      transactions,
      tx,
      new HedgeError(
        'NOT_LEADER',
        'The transaction cannot commit: this pod does not lead. Roll back, and run the work on the leader.',
      ),
    );
  }

  #announce(body: FrameBody, over: (link: Link) => boolean): void {
    for (const link of this.#options.transport.links()) if (over(link)) notify(link, body);
  }

  #hold(term: Term): void {
    const { renewer, transport } = this.#options;
    renewer?.hold({
      name: this.#lease,
      holder: transport.self,
      term,
      batched: false,
      changed: () => {
        this.#databaseOutage.recovered('written');
        this.#step({ type: 'tick' });
      },
      failed: (message) => this.#databaseOutage.failed('written', message),
    });
  }

  #elected(token: bigint): void {
    this.#endCampaign();
    const scope = guardedController();
    const { group, transactions } = this.#options;
    const fenced = fencedTransactions({
      what: `Term ${token} of the leader of group ${group}`,
      transactions,
      isHeld: () => this.leads(token),
      fence: (used, tx) => used.fence(tx, { lease: this.#lease, token }),
    });
    const leadership: Leadership = withTokenInJson({ fencingToken: token, signal: scope.signal, ...fenced });
    this.#term = { leadership, scope };
    this.#options.logger.log(`Leader of group ${group}, token ${token}`, { event: 'leadership.gained', token });
    for (const listener of this.#electedListeners) this.#guard(() => listener(leadership));
  }

  #lost(reason: LossReason, held?: Term, now = this.#clock.now()): void {
    const term = this.#term;
    if (term === undefined) return;
    this.#term = undefined;
    const { logger, group, metrics = NO_METRICS } = this.#options;
    metrics.add('hedge.leadership_ends', { reason });
    const cause = this.#cause.describe(reason, held, now) ?? LOSS_REASONS[reason];
    if (isExpiry(reason)) this.#options.onExpired?.('the leadership');
    const line = `This pod is no longer the leader of group ${group}: ${cause}`;
    const token = term.leadership.fencingToken;
    if (reason === 'resigned' || reason === 'stopped') logger.log(line, { event: 'leadership.ended', token, reason });
    else logger.warn(line, { event: 'leadership.lost', token, reason, code: 'LEASE_LOST' });
    abortInFreshContext(term.scope, new HedgeError('LEASE_LOST', `This pod is no longer the leader: ${cause}`));
  }

  /**
   * A leader at this pod's address is this pod before a restart, whose lease expires, or another live pod, whose lease
   * does not.
   */
  #watchForOwnAddress({ member, token }: LeaseHolder): void {
    const { transport, timing, logger, group } = this.#options;
    if (member.address === '' || member.address !== transport.self.address) return;
    this.#clock.after(timing.leaseMs + timing.heartbeatTimeoutMs, () => {
      if (this.#closed || this.#known?.epoch !== token) return;
      logger.warn(
        `Another live pod has this pod's own address ${member.address} and leads the group ${group} (process ${member.incarnation}): callers cannot distinguish the two. Set the variable POD_IP from status.podIP, or set \`address\` to an address that other pods can dial`,
      );
    });
  }

  #leaderChanged(leader: LeaseHolder | undefined): void {
    const { group, logger, transport } = this.#options;
    const self = leader?.member.incarnation === transport.self.incarnation;
    this.#known = leader === undefined ? undefined : { leader: leader.member, epoch: leader.token, self };
    if (leader === undefined) logger.log(`Group ${group} has no leader`, { event: 'leader.none' });
    else if (!self) {
      const { address } = leader.member;
      const { token } = leader;
      logger.log(`Leader of group ${group} is ${address}, token ${token}`, {
        event: 'leader.changed',
        leader: address,
        token,
      });
    }
    if (leader !== undefined && !self) {
      this.#endCampaign(new HedgeError('NOT_LEADER', `${leader.member.address} was elected`));
      this.#watchForOwnAddress(leader);
    }
    for (const listener of this.#changeListeners) this.#guard(listener);
  }

  #endCampaign(error?: HedgeError): void {
    this.#campaign?.end(error);
    this.#campaign = undefined;
  }

  #guard(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#options.logger.warn(`A listener for changes of the leader threw: ${String(error)}`);
    }
  }
}

function renewed({ token, renewals }: LeaseMarker): FrameBody {
  return { $case: 'leaseRenewed', value: { token, renewals } };
}
