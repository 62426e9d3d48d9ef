/** A metric of the library. All metrics have the label `group`, too. */
export interface MetricDefinition {
  /** `gauge`: read from the state of the pod when it is asked for. `counter`, `histogram`: fed when something happens. */
  readonly kind: 'gauge' | 'counter' | 'histogram';
  /** In UCUM: seconds, bytes, or a text in braces that names the counted things. */
  readonly unit?: 's' | 'By' | `{${string}}`;
  readonly help: string;
  readonly labels?: readonly string[];
  /** Labels with names that the app chooses, only with the option `metrics.labels`. */
  readonly optional?: readonly OptionalLabel[];
  /** The upper bounds of the buckets of a histogram. */
  readonly buckets?: readonly number[];
}

export const OPTIONAL_LABELS = ['topic', 'lock', 'semaphore'] as const;

/** A label whose values the app chooses. */
export type OptionalLabel = (typeof OPTIONAL_LABELS)[number];

/** Seconds. */
const CALLS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const MARGINS = [0, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 30];
const RUNS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600];

const DEFINITIONS = {
  'hedge.leader': {
    kind: 'gauge',
    help: '1 while this pod leads its group, else 0. The sum over the pods of a group is 1.',
  },
  'hedge.has_leader': { kind: 'gauge', help: '1 while this pod knows a leader, else 0.' },
  'hedge.fencing_token': {
    kind: 'gauge',
    help: 'The fencing token of the leader that this pod knows: the nanoseconds from 1970 to its election, rounded to a float. 0 without a leader.',
  },
  'hedge.leader_changes': {
    kind: 'counter',
    help: 'Changes of the leader that this pod has seen: each new term, and each loss of the leader.',
  },
  'hedge.leadership_ends': {
    kind: 'counter',
    help: 'Terms of this pod that have ended. The reasons resigned, unreachable and stopped are hand-overs, the others are losses.',
    labels: ['reason'],
  },
  'hedge.lease.renewal.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each call that renews the lease of the leader, or the leases of the locks of this pod.',
    labels: ['lease', 'outcome'],
    buckets: CALLS,
  },
  'hedge.lease.renewal.margin': {
    kind: 'histogram',
    unit: 's',
    help: 'The time that was left until timing.renewDeadlineMs when a renewal was acknowledged. At 0 the lease is lost, so a margin that shrinks is the early alarm.',
    labels: ['lease'],
    buckets: MARGINS,
  },
  'hedge.lease.renew_deadline': {
    kind: 'gauge',
    unit: 's',
    help: 'timing.renewDeadlineMs: the largest possible margin.',
  },
  'hedge.database.call.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each call to the database, by table and method. The outcome is OK or the code of the error.',
    labels: ['operation', 'outcome'],
    buckets: CALLS,
  },
  'hedge.database.reachable': {
    kind: 'gauge',
    help: '1 while the database answers this pod, as far as its last call shows, else 0.',
  },
  'hedge.members': { kind: 'gauge', unit: '{member}', help: 'The members in the latest view of this pod.' },
  'hedge.view.age': {
    kind: 'gauge',
    unit: 's',
    help: 'The time since the view of this pod was settled and confirmed by the leader for the last time. 0 while it is.',
  },
  'hedge.links': {
    kind: 'gauge',
    unit: '{link}',
    help: 'The open links of this pod, by direction: dialled or accepted.',
    labels: ['direction'],
  },
  'hedge.link.opens': {
    kind: 'counter',
    unit: '{link}',
    help: 'Links that were opened. Resumed: a reconnect, after which unanswered requests continue.',
    labels: ['direction', 'resumed'],
  },
  'hedge.link.queue': {
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes that wait in the queues of all links. limits.maxQueuedBytes bounds the queue of each link.',
  },
  'hedge.peer_refusals': {
    kind: 'counter',
    help: 'Refused handshakes and violations of the protocol, at this pod or by its peers.',
  },
  'hedge.request.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each request at its caller, with retries and the wait for a leader. The code is OK or the code of the error.',
    labels: ['kind', 'code'],
    optional: ['topic'],
    buckets: CALLS,
  },
  'hedge.handler.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each request at the pod that serves it. The code is OK or the code of the error.',
    labels: ['kind', 'code'],
    optional: ['topic'],
    buckets: CALLS,
  },
  'hedge.request.refusals': {
    kind: 'counter',
    help: 'Requests that this pod did not start: it does not lead, is overloaded, or is stopping.',
    labels: ['kind', 'code'],
  },
  'hedge.request.duplicates': {
    kind: 'counter',
    help: 'Repeated requests that did not run again: they get the reply of the first.',
    labels: ['kind'],
  },
  'hedge.kv.batch.size': {
    kind: 'histogram',
    unit: '{row}',
    help: 'The rows of each transaction of puts.',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  },
  'hedge.kv.commit.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each transaction of puts. The outcome is OK or the code of the error.',
    labels: ['outcome'],
    buckets: CALLS,
  },
  'hedge.kv.retention.deleted': {
    kind: 'counter',
    unit: '{version}',
    help: 'Versions of keys that kv.retention has deleted, on this pod as the leader.',
  },
  'hedge.kv.retention.sweep.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each sweep of kv.retention over all its keys, with its pauses. The outcome is OK or the code of the error that ended it.',
    labels: ['outcome'],
    buckets: RUNS,
  },
  'hedge.kv.expired': {
    kind: 'counter',
    unit: '{key}',
    help: 'Keys that this pod has deleted as the leader, because their time to live was over, or their process had left. One whose put is repeated later counts again.',
  },
  'hedge.locks.held': { kind: 'gauge', unit: '{lock}', help: 'The locks that this pod holds.', optional: ['lock'] },
  'hedge.locks.waiting': {
    kind: 'gauge',
    unit: '{caller}',
    help: 'The callers of this pod that wait for a lock.',
    optional: ['lock'],
  },
  'hedge.lock.wait.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time that callers waited for a lock. The outcome is acquired, not_free, cancelled (by its signal or its deadline) or failed.',
    labels: ['outcome'],
    optional: ['lock'],
    buckets: CALLS,
  },
  'hedge.lock.losses': {
    kind: 'counter',
    unit: '{lock}',
    help: 'Locks that this pod lost while it held them.',
    labels: ['reason'],
    optional: ['lock'],
  },
  'hedge.permits.held': {
    kind: 'gauge',
    unit: '{permit}',
    help: 'The permits of semaphores that this pod holds.',
    optional: ['semaphore'],
  },
  'hedge.permits.waiting': {
    kind: 'gauge',
    unit: '{caller}',
    help: 'The callers of this pod that wait for permits.',
    optional: ['semaphore'],
  },
  'hedge.permit.wait.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time that callers waited for permits. The outcome is acquired, not_free, cancelled (by its signal or its deadline) or failed.',
    labels: ['outcome'],
    optional: ['semaphore'],
    buckets: CALLS,
  },
  'hedge.permit.losses': {
    kind: 'counter',
    unit: '{permit}',
    help: 'Permits that this pod lost while it held them.',
    labels: ['reason'],
    optional: ['semaphore'],
  },
  'hedge.job.firings': {
    kind: 'counter',
    unit: '{firing}',
    help: 'Firings whose outcome this pod has recorded: done, failed, lost, missed or skipped.',
    labels: ['job', 'outcome'],
  },
  'hedge.job.lag': {
    kind: 'histogram',
    unit: 's',
    help: 'The time from the nominal time of a firing to the beginning of its run.',
    labels: ['job'],
    buckets: RUNS,
  },
  'hedge.job.duration': {
    kind: 'histogram',
    unit: 's',
    help: 'The time of each run of a job.',
    labels: ['job', 'outcome'],
    buckets: RUNS,
  },
  'hedge.spill.used': {
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of spilled data that this pod holds, of its own and of other pods, by tier: memory or disk.',
    labels: ['tier'],
  },
  'hedge.spill.free': {
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes that this pod can still hold, by tier.',
    labels: ['tier'],
  },
  'hedge.event_loop.delay': {
    kind: 'histogram',
    unit: 's',
    help: 'How late a timer of this pod ran, measured 16 times per lease.',
    buckets: CALLS,
  },
  'hedge.event_loop.stalls': {
    kind: 'counter',
    unit: '{stall}',
    help: 'Times that the event loop stalled for a quarter of a lease or longer.',
  },
} as const satisfies Record<string, MetricDefinition>;

type Definitions = typeof DEFINITIONS;
export type MetricName = keyof Definitions;
type NamesOf<Kind> = { [Name in MetricName]: Definitions[Name]['kind'] extends Kind ? Name : never }[MetricName];
export type GaugeName = NamesOf<'gauge'>;
export type CounterName = NamesOf<'counter'>;
export type HistogramName = NamesOf<'histogram'>;

/** All metrics of the library, by name: the one table that the sinks, docs/metrics.md and the tests read. */
export const METRICS: Readonly<Record<MetricName, MetricDefinition>> = DEFINITIONS;

/** The names of the metrics of one kind. */
export function metricsOf(kind: 'gauge'): GaugeName[];
export function metricsOf(kind: 'counter'): CounterName[];
export function metricsOf(kind: 'histogram'): HistogramName[];
export function metricsOf(kind: MetricDefinition['kind']): MetricName[] {
  return (Object.keys(METRICS) as MetricName[]).filter((name) => METRICS[name].kind === kind);
}

/**
 * The name in Prometheus: `hedge.link.queue` is `hedge_link_queue_bytes`. It is the name that the Prometheus exporter of
 * OpenTelemetry gives to the metric, so alert rules serve both.
 */
export function prometheusName(name: MetricName): string {
  const { kind, unit } = METRICS[name];
  const suffix = unit === 's' ? '_seconds' : unit === 'By' ? '_bytes' : '';
  return `${name.replaceAll('.', '_')}${suffix}${kind === 'counter' ? '_total' : ''}`;
}
