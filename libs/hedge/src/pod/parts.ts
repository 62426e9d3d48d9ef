import { onAbort } from '../common/async/on-abort.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { Clock } from '../common/clock.js';
import { newIncarnation } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import { leaseName, retentionKey } from '../database/row-names.js';
import { LEADER_MESSAGE, LeaderService } from '../election/leader.service.js';
import type { RenewalWorker } from '../lease/renewal/renewal-worker.js';
import { LeaderElector } from '../election/leader-elector.runner.js';
import { JOB_REQUEST } from '../jobs/job-requests.js';
import { JobServer } from '../jobs/job-server.js';
import { InspectionService } from '../inspection/inspection.service.js';
import { RESIGN, resignHandler } from '../election/resignation.js';
import { TermHistory } from '../election/term-history.js';
import { JobsService } from '../jobs/jobs.service.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from '../kv/group-commit.messages.js';
import {
  GroupCommitter,
  KV_CONDITIONAL_PUT,
  KV_PUT,
  KV_TRANSACTION,
  kvConditionalPutHandler,
  kvPutHandler,
  kvTransactionHandler,
} from '../kv/group-commit.runner.js';
import { DEFAULT_EXPIRY_LIMITS } from '../kv/expiry/expiry.core.js';
import { ExpiryRunner } from '../kv/expiry/expiry.runner.js';
import { checkKeySpace } from '../kv/key-space.js';
import { maxValueBytes } from '../kv/kv-limits.js';
import { KvStore } from '../kv/kv.store.js';
import { KV_COMPACT, kvCompactHandler, RetentionRunner } from '../kv/retention/retention.runner.js';
import { KV_WATCH, WatchAnnouncer } from '../kv/watch/watch-announcer.runner.js';
import { WatchHub } from '../kv/watch/watch-hub.runner.js';
import { LockQueueRunner } from '../locks/lock-queue.runner.js';
import { lockHolder, LockManager } from '../locks/lock.runner.js';
import { LockService } from '../locks/lock.service.js';
import { BROADCAST } from '../membership/broadcast.js';
import { ClusterService } from '../membership/cluster.service.js';
import { MembershipRunner } from '../membership/membership.runner.js';
import { HandOvers } from '../membership/hand-overs.js';
import { UnreachableReports } from '../membership/unreachable-reports.js';
import { DEFAULT_MESSAGING_LIMITS } from '../messaging/limits.js';
import type { Encoded, OutgoingRequest } from '../messaging/message.js';
import { Messenger } from '../messaging/messenger.js';
import { HandlerFigures } from '../messaging/server/handler-figures.js';
import { PayloadCodec } from '../messaging/serializer.js';
import { SemaphoreClient } from '../semaphores/client/semaphore-client.runner.js';
import { releaseWithoutLeader } from '../semaphores/server/last-release.js';
import { SemaphoreServer } from '../semaphores/server/semaphore-server.runner.js';
import { semaphoreTiming } from '../semaphores/semaphore-timing.js';
import { SEMAPHORE_REQUESTS } from '../semaphores/semaphore-wire.js';
import { SemaphoreService } from '../semaphores/semaphore.service.js';
import { SpillNode } from '../spill/node/spill-node.js';
import { SpillRuntime } from '../spill/service/spill-runtime.js';
import { StreamCaller } from '../streams/stream-caller.js';
import { StreamReceiver } from '../streams/stream-receiver.js';
import { DatabaseOpener } from './database-opener.js';
import { DatabaseWatch } from './database-watch.js';
import { groupSecrets, KeptSecret, STORED_SECRET } from './group-secret.js';
import type { HandlersFactory } from './handlers.js';
import { podStateReader, type InspectedParts } from './pod-state-reader.js';
import type { PodSettings } from './settings.js';
import type { StallMonitor } from './stall-monitor.js';
import type { Metrics } from '../telemetry/metrics.js';
import { timedBackend } from './timed-backend.js';
import type { TransportFactory } from './transport-factory.js';

// The parts of a pod, in the order in which `HedgePod` creates them. Each part uses only earlier ones.

/** The values that all parts use. */
export interface PodContext {
  readonly settings: PodSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Delays the calls of all services until the start. */
  readonly gate: StartGate;
  readonly stalls: StallMonitor;
  readonly metrics: Metrics;
  /** With `renewal: 'worker'`. */
  readonly renewer: RenewalWorker | undefined;
}

export type DatabasePart = ReturnType<typeof makeDatabase>;
export type NetworkPart = ReturnType<typeof makeNetwork>;
export type ElectionPart = ReturnType<typeof makeElection>;
export type MessagingPart = ReturnType<typeof makeMessaging>;

/** The database: its driver, the opener that waits for it, and the watch on its answers. */
export function makeDatabase({ settings, clock, logger, renewer, metrics }: PodContext) {
  const { group, timing } = settings;
  const made = settings.backend.create({ timeoutMs: timing.backendTimeoutMs });
  const backend = timedBackend(made, clock, metrics);
  // While the election needs the database, the lease is read or renewed at least once per lease.
  const watch = new DatabaseWatch(clock, 2 * timing.leaseMs, leaseName(group));
  const opener = new DatabaseOpener(backend, { clock, retryMs: timing.retryMs, logger });
  return {
    backend,
    leases: watch.watch(backend.lease),
    renewer: renewer && watch.watchRenewer(renewer),
    watch,
    opener,
  };
}

/** The transport to other pods, and the secret with which pods authenticate each other. */
export function makeNetwork(
  { settings, clock, logger, metrics }: PodContext,
  { backend, watch }: DatabasePart,
  makeTransport: TransportFactory,
  transportLogger: Logger,
) {
  const { group, timing } = settings;
  const option = settings.secret.reveal();
  const isStored = option.includes(STORED_SECRET);
  const writes = settings.mode === 'member';
  const secret = new KeptSecret({ log: backend.log, group, writes, clock, retryMs: timing.retryMs, logger });
  const { transport, source } = makeTransport({
    settings,
    incarnation: newIncarnation(),
    secret: (self) => groupSecrets(option, () => secret.get(self.address)),
    logger: transportLogger,
    metrics,
  });
  watch.onReplaced(() => {
    if (isStored) void secret.restore(transport.self.address);
  });
  const prepareSecret = (): void => {
    if (isStored && writes) secret.prepare(transport.self.address);
  };
  return { transport, source, secret, prepareSecret, address: () => transport.self.address };
}

/** The election, and the membership that follows it. */
export function makeElection(
  { settings, clock, logger, stalls, metrics }: PodContext,
  { backend, leases, renewer, watch }: DatabasePart,
  { transport }: NetworkPart,
) {
  const { group, timing, mode, shutdown, appVersion } = settings;
  const elector = new LeaderElector({
    leases,
    transactions: backend.transactions,
    transport,
    clock,
    group,
    timing,
    campaigns: mode === 'member',
    drainMs: shutdown.drainMs,
    renewer,
    onExpired: (what) => stalls.lost(what),
    successor: () => membership.successor(),
    logger,
    metrics,
  });
  const reports = new UnreachableReports({ log: backend.log, group, transport });
  const handOvers = new HandOvers({ log: backend.log, group, transport });
  const startedAt = clock.now().wall;
  const membership: MembershipRunner = new MembershipRunner({
    transport,
    route: elector,
    reports,
    handOvers,
    appVersion,
    candidate: () => {
      const ready = mode === 'member' && watch.reachable && !elector.stopped;
      return ready ? { appVersion: appVersion ?? '', startedAt } : undefined;
    },
    clock,
    timing,
    logger,
  });
  return { elector, membership, terms: new TermHistory(elector) };
}

export function makeLocks(
  { settings, clock, logger, gate, stalls, metrics }: PodContext,
  { backend, leases, renewer }: DatabasePart,
  { transport }: NetworkPart,
  { elector }: ElectionPart,
) {
  const { group, timing, defaultTimeoutMs } = settings;
  const queue = new LockQueueRunner({ transport, route: elector, clock, leaseMs: timing.leaseMs });
  const manager = new LockManager({
    leases,
    transactions: backend.transactions,
    holder: () => lockHolder(transport.self),
    queue,
    clock,
    group,
    timing,
    renewer,
    onExpired: (what) => stalls.lost(what),
    logger,
    metrics,
  });
  queue.listen(manager);
  return { queue, manager, service: new LockService({ gate, manager, clock, defaultTimeoutMs }) };
}

/** Messages and streams, with the handlers of the app. */
export function makeMessaging(
  { settings, clock, logger, gate, metrics }: PodContext,
  { transport, address }: NetworkPart,
  { elector }: ElectionPart,
  makeHandlers: HandlersFactory,
) {
  const { limits, serializer, defaultTimeoutMs } = settings;
  const codec = new PayloadCodec(serializer);
  const handlers = makeHandlers({ codec, address, logger });
  // One caller may use half of the bytes. So at least a few of its largest messages fit, at any `maxMessageBytes`.
  const maxHeldBytes = Math.max(DEFAULT_MESSAGING_LIMITS.maxHeldBytes, 8 * limits.maxMessageBytes);
  const figures = new HandlerFigures(clock);
  const messenger = new Messenger({
    transport,
    clock,
    route: elector,
    limits: { ...limits, maxHeldBytes },
    logger,
    metrics,
    figures,
  });
  messenger.serve(LEADER_MESSAGE, handlers.leaderMessage);
  messenger.serve(BROADCAST, handlers.broadcast);
  const shared = { transport, route: elector, codec, limits, clock, metrics };
  const receiver = new StreamReceiver({
    ...shared,
    figures,
    leader: handlers.leaderStream,
    broadcast: handlers.broadcastStream,
  });
  messenger.serve(RESIGN, resignHandler(elector, logger));
  elector.onDrain(({ fencingToken }) => receiver.drain(fencingToken));
  elector.onDrain(({ fencingToken }) => messenger.drain(fencingToken));
  const streams = new StreamCaller({ ...shared, gate, openTimeoutMs: defaultTimeoutMs });
  return { codec, messenger, receiver, streams, figures, topics: () => handlers.topics() };
}

/** Both sides of semaphores: the client, and the server, which is active while this pod leads. */
export function makeSemaphores(
  { settings, clock, logger, gate, stalls, metrics }: PodContext,
  { backend }: DatabasePart,
  { address }: NetworkPart,
  { elector }: ElectionPart,
  { messenger }: MessagingPart,
) {
  const { group, limits, defaultTimeoutMs } = settings;
  const timing = semaphoreTiming(settings.timing);
  const table = backend.permits;
  // Fewer than the request layer accepts. So this layer refuses first, and its error names the semaphore.
  const maxWaiting = Math.ceil(limits.maxRunning / 2);
  const server = new SemaphoreServer({ table, clock, group, address, timing, maxWaiting, logger });
  for (const type of SEMAPHORE_REQUESTS) {
    messenger.serve(type, (request) => new Promise((resolve, reject) => server.handle(request, resolve, reject)));
  }
  elector.onElected(({ fencingToken, signal }) => {
    server.elected(fencingToken);
    onAbort(signal, () => server.end());
  });
  elector.onDrain(async () => server.drain());
  const rows = { table, leases: backend.lease, group, address };
  const client = new SemaphoreClient({
    messenger,
    clock,
    timing,
    transactions: backend.transactions,
    onExpired: (what) => stalls.lost(what),
    releaseWithoutLeader: (name, ids) => releaseWithoutLeader(rows, name, ids),
    metrics,
    logger,
  });
  return { server, client, service: new SemaphoreService({ gate, client, table, group, defaultTimeoutMs }) };
}

export function makeKv(
  { settings, clock, logger, gate, metrics }: PodContext,
  { backend }: DatabasePart,
  { address, transport }: NetworkPart,
  { elector, membership }: ElectionPart,
  { messenger }: MessagingPart,
) {
  const { group, kv, limits, timing, defaultTimeoutMs, mode } = settings;
  const { log } = backend;
  const announcer = new WatchAnnouncer(transport.self.incarnation, clock);
  const committer = new GroupCommitter({
    log,
    clock,
    lease: leaseName(group),
    address,
    limits: { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: timing.retryMs },
    onCommitted: (keys) => announcer.committed(keys),
    metrics,
  });
  const request = (outgoing: OutgoingRequest): Promise<Encoded> => messenger.request(outgoing);
  const warn = (message: string): void => logger.warn(message);
  const hub = new WatchHub({ log, clock, route: elector, request, random: Math.random, warn });
  messenger.serve(KV_WATCH, (asked) => new Promise((resolve) => announcer.handle(asked, resolve)));
  messenger.serve(KV_PUT, kvPutHandler(committer, address));
  messenger.serve(KV_CONDITIONAL_PUT, kvConditionalPutHandler(committer, address));
  const maxBytes = maxValueBytes(limits.maxMessageBytes);
  const expiry = new ExpiryRunner({
    log,
    committer,
    clock,
    lease: leaseName(group),
    group,
    limits: { ...DEFAULT_EXPIRY_LIMITS, graceMs: timing.heartbeatTimeoutMs },
    metrics,
  });
  membership.onChange(() => expiry.membersChanged(membership.view));
  messenger.serve(KV_TRANSACTION, kvTransactionHandler(committer, expiry, address, maxBytes));
  const retention = new RetentionRunner({
    log,
    clock,
    lease: leaseName(group),
    key: retentionKey(group),
    address,
    rules: kv.retention.map((rule) => ({ ...rule, prefix: kv.prefix + rule.prefix })),
    limits: kv.retentionLimits,
    logger,
    metrics,
  });
  messenger.serve(KV_COMPACT, kvCompactHandler(retention));
  elector.onElected(({ fencingToken, signal }) => {
    retention.elected(fencingToken);
    expiry.elected(fencingToken);
    expiry.membersChanged(membership.view);
    onAbort(signal, () => {
      retention.ended();
      expiry.ended();
    });
  });
  let checked = false;
  elector.onElected(() => {
    if (checked) return;
    checked = true;
    // The check only logs warnings. If the database does not answer, the next leader checks again.
    void checkKeySpace(log, { group, prefix: kv.prefix, chosen: kv.prefixChosen }, address()).then(
      (warnings) => warnings.forEach((warning) => logger.warn(warning)),
      () => undefined,
    );
  });
  const store = new KvStore({
    gate,
    messenger,
    route: elector,
    log,
    hub,
    clock,
    defaultTimeoutMs,
    maxValueBytes: maxBytes,
    prefix: kv.prefix,
    isMember: mode !== 'client',
  });
  membership.onChange(() => membership.view && store.aliveKeys.viewChanged(membership.view, transport.self));
  return { store, hub };
}

/** The spill stores of this pod, with the RAM and disk that its options offer. */
export function makeSpill(
  { settings, clock, logger, gate }: PodContext,
  { transport }: NetworkPart,
  { membership }: ElectionPart,
  { messenger }: MessagingPart,
): SpillRuntime {
  const { timing, spill } = settings;
  const openNode = () => SpillNode.open({ ...spill, clock, logger });
  return new SpillRuntime({ gate, streams: transport, messenger, membership, clock, timing, openNode, logger });
}

export function makeLeaderService(
  { settings, clock, logger, gate }: PodContext,
  { elector }: ElectionPart,
  { messenger, streams, codec }: MessagingPart,
): LeaderService {
  const { timing, defaultTimeoutMs, maxReruns } = settings;
  const { retryMs, leaseMs } = timing;
  const limits = { defaultTimeoutMs, maxReruns, retryMs, leaseMs };
  return new LeaderService({ gate, elector, messenger, streams, codec, clock, logger, ...limits });
}

export function makeClusterService(
  { settings, clock, gate }: PodContext,
  { transport }: NetworkPart,
  { membership }: ElectionPart,
  { messenger, streams, codec }: MessagingPart,
): ClusterService {
  const { defaultTimeoutMs } = settings;
  return new ClusterService({ gate, transport, membership, messenger, streams, codec, clock, defaultTimeoutMs });
}

export function makeInspection(context: PodContext, parts: Omit<InspectedParts, 'context'>): InspectionService {
  const { gate, settings } = context;
  const { messenger } = parts.messaging;
  const read = podStateReader({ context, ...parts });
  return new InspectionService({ gate, messenger, read, defaultTimeoutMs: settings.defaultTimeoutMs });
}

export function makeJobs(
  { settings, clock, logger, gate, stalls, metrics }: PodContext,
  { backend }: DatabasePart,
  { transport }: NetworkPart,
  { elector }: ElectionPart,
  { messenger }: MessagingPart,
): JobsService {
  const { group, timing, defaultTimeoutMs } = settings;
  const { retryMs, leaseMs } = timing;
  const server = new JobServer({
    backend,
    group,
    election: elector,
    self: () => transport.self,
    clock,
    retryMs,
    leaseMs,
    logger,
    onCutShort: (what) => stalls.lost(what),
    metrics,
  });
  messenger.serve(JOB_REQUEST, (request) => server.handle(request));
  return new JobsService({
    gate,
    messenger,
    server,
    log: backend.log,
    group,
    defaultTimeoutMs,
    pod: () => lockHolder(transport.self).address,
  });
}
