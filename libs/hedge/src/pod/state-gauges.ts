import type { LeaderElector } from '../election/leader-elector.runner.js';
import type { LockManager } from '../locks/lock.runner.js';
import type { MembershipRunner } from '../membership/membership.runner.js';
import type { SemaphoreClient } from '../semaphores/client/semaphore-client.runner.js';
import type { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { Metrics, Reading } from '../telemetry/metrics.js';
import type { Transport } from '../transport/transport.js';
import type { Clock } from '../common/clock.js';
import type { DatabaseWatch } from './database-watch.js';
import type { PodSettings } from './settings.js';

/** The parts of a pod that its gauges read. */
export interface GaugedParts {
  readonly metrics: Metrics;
  readonly settings: Pick<PodSettings, 'timing'>;
  readonly clock: Clock;
  readonly elector: Pick<LeaderElector, 'isLeader' | 'current' | 'onChange'>;
  readonly membership: Pick<MembershipRunner, 'view' | 'unsettledForMs'>;
  readonly watch: Pick<DatabaseWatch, 'reachable'>;
  readonly transport: Pick<Transport, 'links'>;
  readonly locks: Pick<LockManager, 'held' | 'waiting'>;
  readonly permits: Pick<SemaphoreClient, 'held' | 'waiting'>;
  readonly spill: Pick<SpillRuntime, 'usage'>;
}

/** Reports the state of a pod as gauges. Each reads the memory of this process only: a scrape asks no database. */
export function reportGauges(parts: GaugedParts): void {
  const { metrics, settings, clock, elector, membership, watch, transport, locks, permits, spill } = parts;
  const startedAt = clock.now().mono;
  const one = (name: Parameters<Metrics['gauge']>[0], value: () => number): void =>
    metrics.gauge(name, () => [{ value: value() }]);
  one('hedge.leader', () => Number(elector.isLeader()));
  one('hedge.has_leader', () => Number(elector.current() !== undefined));
  one('hedge.fencing_token', () => Number(elector.current()?.epoch ?? 0n));
  elector.onChange(() => metrics.add('hedge.leader_changes'));
  one('hedge.lease.renew_deadline', () => settings.timing.renewDeadlineMs / 1_000);
  one('hedge.database.reachable', () => Number(watch.reachable));
  one('hedge.members', () => membership.view?.members.length ?? 0);
  // Infinity before the first view.
  one('hedge.view.age', () => Math.min(membership.unsettledForMs, clock.now().mono - startedAt) / 1_000);
  metrics.gauge('hedge.links', () => links(transport));
  one('hedge.link.queue', () => [...transport.links()].reduce((sum, { queuedBytes }) => sum + queuedBytes, 0));
  metrics.gauge('hedge.locks.held', () => locks.held);
  metrics.gauge('hedge.locks.waiting', () => locks.waiting);
  metrics.gauge('hedge.permits.held', () => permits.held);
  metrics.gauge('hedge.permits.waiting', () => permits.waiting);
  for (const part of ['used', 'free'] as const) {
    metrics.gauge(`hedge.spill.${part}`, () =>
      (['memory', 'disk'] as const).map((tier) => ({ value: spill.usage?.[part][tier] ?? 0, labels: { tier } })),
    );
  }
}

function links(transport: Pick<Transport, 'links'>): Reading[] {
  const counts = { dialled: 0, accepted: 0 };
  for (const { direction } of transport.links()) counts[direction] += 1;
  return Object.entries(counts).map(([direction, value]) => ({ value, labels: { direction } }));
}
