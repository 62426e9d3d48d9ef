import { TIMING_PRESETS } from 'nestjs-hedge';
import type { FailoverRow } from './suites/failover.js';
import type { MemoryRow } from './suites/memory.js';
import type { PostgresRow } from './suites/postgres.js';
import type { ScaleRow } from './suites/scale.js';
import type { SemaphoreRow } from './suites/semaphore.js';
import type { SpannerRow } from './suites/spanner.js';
import type { SpillRow } from './suites/spill.js';
import type { StartupRow } from './suites/startup.js';
import type { StreamRow } from './suites/streams.js';
import type { TelemetryRow } from './suites/telemetry.js';
import type { Row } from './statistics.js';

/** A row of a suite. Only some suites set the optional values. */
export type AnyRow = Row &
  Partial<FailoverRow> &
  Partial<MemoryRow> &
  Partial<PostgresRow> &
  Partial<ScaleRow> &
  Partial<SpannerRow> &
  Partial<SpillRow> &
  Partial<SemaphoreRow> &
  Partial<StartupRow> &
  Partial<StreamRow> &
  Partial<TelemetryRow>;

export interface Verdict {
  readonly target: string;
  readonly measured: number;
  readonly reached: boolean;
}

/** The size of a group for the targets of the suite `scale`. Its pods have the timing `lan`. */
const LARGE_GROUP = 300;

/** The lease of the pods in milliseconds (timing `local`). */
const LEASE_MS = 3_000;

/** Allowed growth: the resident memory of an idle Node process varies by this much. */
const NOISE_MIB = 16;

const SPILLS = [
  'spill-ram-records',
  'spill-ram-batches',
  'spill-ram-4k',
  'spill-read-batches',
  'spill-read-records',
  'spill-disk-write',
  'spill-disk-read',
  'spill-remote-write',
  'spill-remote-read',
];

type Find = (name: string, concurrency?: number) => AnyRow | undefined;

interface Target {
  readonly name: string;
  readonly bound: number;
  readonly at: 'least' | 'most';
  /** Undefined when a required row was not measured. */
  measure(find: Find): number | undefined;
}

const TARGETS: readonly Target[] = [
  {
    name: 'send / nest-grpc-unary, rate at 64',
    bound: 8,
    at: 'least',
    measure: (find) => ratio(find('send', 64)?.opsPerSecond, find('nest-grpc-unary', 64)?.opsPerSecond),
  },
  {
    name: 'send / raw-link, rate at 64',
    bound: 0.5,
    at: 'least',
    measure: (find) => ratio(find('send', 64)?.opsPerSecond, find('raw-link', 64)?.opsPerSecond),
  },
  {
    name: 'send / nest-grpc-unary, p50 at 1',
    bound: 0.5,
    at: 'most',
    measure: (find) => ratio(find('send', 1)?.p50Ms, find('nest-grpc-unary', 1)?.p50Ms),
  },
  {
    name: 'broadcast to 3 / nest-grpc-unary, rate at 16',
    bound: 1.5,
    at: 'least',
    measure: (find) => ratio(find('broadcast', 16)?.opsPerSecond, find('nest-grpc-unary', 16)?.opsPerSecond),
  },
  {
    name: 'put at 64 / sqlite-one-row, rate',
    bound: 5,
    at: 'least',
    measure: (find) => ratio(find('put', 64)?.opsPerSecond, find('sqlite-one-row')?.opsPerSecond),
  },
  {
    name: 'put at 1 / sqlite-one-row, p50',
    bound: 2.5,
    at: 'most',
    measure: (find) => ratio(find('put', 1)?.p50Ms, find('sqlite-one-row')?.p50Ms),
  },
  {
    name: 'get at 1, per second',
    bound: 20_000,
    at: 'least',
    measure: (find) => find('get', 1)?.opsPerSecond,
  },
  {
    name: 'get at 64 / sqlite-read, rate',
    bound: 0.35,
    at: 'least',
    measure: (find) => ratio(find('get', 64)?.opsPerSecond, find('sqlite-read')?.opsPerSecond),
  },
  {
    name: 'put answered to the last of 100 watchers on 3 pods / broadcast, p50',
    bound: 2,
    at: 'most',
    measure: (find) => ratio(find('watch-fan-out')?.p50Ms, find('watch-broadcast')?.p50Ms),
  },
  ...[1, 64].flatMap((callers): Target[] => [
    {
      name: `put at ${callers} with a watch on its prefix / without, rate`,
      bound: 0.9,
      at: 'least',
      measure: (find) =>
        ratio(find('watch-put-watched', callers)?.opsPerSecond, find('watch-put', callers)?.opsPerSecond),
    },
    {
      name: `put at ${callers} while retention deletes / without, rate`,
      bound: 0.9,
      at: 'least',
      measure: (find) =>
        ratio(find('watch-put-retention', callers)?.opsPerSecond, find('watch-put', callers)?.opsPerSecond),
    },
  ]),
  {
    name: 'semaphore acquire and release / put, p50 at 1',
    bound: 2.5,
    at: 'most',
    measure: (find) => ratio(find('semaphore', 1)?.p50Ms, find('put', 1)?.p50Ms),
  },
  ...[8, 64].map((waiters): Target => ({
    name: `semaphore hand-over to the next of ${waiters} / put, p50`,
    bound: 1.5,
    at: 'most',
    measure: (find) => ratio(find('semaphore-hand-over', waiters)?.p50Ms, find('put', 1)?.p50Ms),
  })),
  {
    name: 'semaphore at 64 / at 1, rate',
    bound: 4,
    at: 'least',
    measure: (find) => ratio(find('semaphore', 64)?.opsPerSecond, find('semaphore', 1)?.opsPerSecond),
  },
  {
    name: 'stream-chunks / bare-grpc-chunks, rate',
    bound: 0.8,
    at: 'least',
    measure: (find) => ratio(find('stream-chunks')?.opsPerSecond, find('bare-grpc-chunks')?.opsPerSecond),
  },
  {
    name: 'stream-messages / bare-grpc-messages, rate',
    bound: 1,
    at: 'least',
    measure: (find) => ratio(find('stream-messages')?.opsPerSecond, find('bare-grpc-messages')?.opsPerSecond),
  },
  ...['sender', 'reader'].map((end): Target => ({
    name: `memory of the ${end} of a stream with a slow reader, growth, MiB`,
    bound: NOISE_MIB,
    at: 'most',
    measure: (find) => find(`stream-memory-${end}`)?.rssMiB,
  })),
  {
    name: 'spill to RAM, records of 100 B, per second',
    bound: 4_000_000,
    at: 'least',
    measure: (find) => find('spill-ram-records')?.opsPerSecond,
  },
  {
    name: 'spill to RAM, records of 100 B in batches, per second',
    bound: 8_000_000,
    at: 'least',
    measure: (find) => find('spill-ram-batches')?.opsPerSecond,
  },
  {
    name: 'read spilled records of 100 B, per second',
    bound: 6_000_000,
    at: 'least',
    measure: (find) => find('spill-read-records')?.opsPerSecond,
  },
  ...(
    [
      ['spill-ram-4k', 'memcpy', 0.5],
      ['spill-read-batches', 'memcpy', 0.8],
      ['spill-disk-write', 'disk-write', 0.8],
      ['spill-disk-read', 'disk-read', 0.8],
    ] as const
  ).map(([ours, floor, bound]): Target => ({
    name: `${ours} / ${floor}, bytes`,
    bound,
    at: 'least',
    measure: (find) => ratio(find(ours)?.mbPerSecond, find(floor)?.mbPerSecond),
  })),
  ...['spill-remote-write', 'spill-remote-read'].map((ours): Target => ({
    name: `${ours} / bare-grpc-bulk, bytes`,
    bound: 0.8,
    at: 'least',
    measure: (find) => ratio(find(ours, 1)?.mbPerSecond, find('bare-grpc-bulk')?.mbPerSecond),
  })),
  {
    name: 'spill-remote-read from three / from one, bytes',
    bound: 1,
    at: 'least',
    measure: (find) => ratio(find('spill-remote-read', 3)?.mbPerSecond, find('spill-remote-read', 1)?.mbPerSecond),
  },
  {
    name: 'memory while spilling 4 GB, MiB, of which 64 are offered',
    bound: 64 + 64,
    at: 'most',
    measure: (find) => find('memory-spilling')?.rssMiB,
  },
  {
    name: 'event loop while spilling, p99 delay, ms, worst row',
    bound: 20,
    at: 'most',
    measure: (find) => longestDelay(find),
  },
  ...(
    [
      ['put', 'pg-one-row', 1, 8],
      ['put', 'pg-one-row', 16, 4],
      ['get', 'pg-select', 16, 5],
    ] as const
  ).map(([ours, floor, connections, bound]): Target => ({
    name: `${ours} at 64 on PostgreSQL / ${floor} on ${connections}, rate`,
    bound,
    at: 'least',
    measure: (find) => ratio(find(`postgres-${ours}`, 64)?.opsPerSecond, find(floor, connections)?.opsPerSecond),
  })),
  {
    name: 'lock on PostgreSQL / pg-advisory-lock, p50 at 1',
    bound: 2,
    at: 'most',
    measure: (find) => ratio(find('postgres-lock', 1)?.p50Ms, find('pg-advisory-lock', 1)?.p50Ms),
  },
  {
    name: 'lock on PostgreSQL among 64 waiters / pg-advisory-polling, rate',
    bound: 5,
    at: 'least',
    measure: (find) => ratio(find('postgres-lock-contended')?.opsPerSecond, find('pg-advisory-polling')?.opsPerSecond),
  },
  {
    name: 'fenced transaction on PostgreSQL / pg-transaction, p50 at 1',
    bound: 1.3,
    at: 'most',
    measure: (find) => ratio(find('postgres-fenced-transaction')?.p50Ms, find('pg-transaction')?.p50Ms),
  },
  ...(
    [
      ['leader', 1],
      ['follower', 0],
    ] as const
  ).map(([pod, bound]): Target => ({
    name: `statements of an idle ${pod} on PostgreSQL, per third of a lease`,
    bound,
    at: 'most',
    measure: (find) => find(`postgres-idle-${pod}`)?.statementsPerThird,
  })),
  {
    name: 'get on Spanner / one read for each, rate at 64',
    bound: 8,
    at: 'least',
    measure: (find) => ratio(find('spanner-get', 64)?.opsPerSecond, find('spanner-one-read', 64)?.opsPerSecond),
  },
  {
    name: 'put on Spanner / one commit for each, rate at 64',
    bound: 5,
    at: 'least',
    measure: (find) => ratio(find('spanner-put', 64)?.opsPerSecond, find('spanner-one-commit', 64)?.opsPerSecond),
  },
  {
    name: 'isLeader(), calls per second',
    bound: 5_000_000,
    at: 'least',
    measure: (find) => find('isLeader')?.opsPerSecond,
  },
  {
    name: 'failover after kill -9, ms, longest',
    bound: LEASE_MS + 1_000,
    at: 'most',
    measure: (find) => find('failover-kill')?.p99Ms,
  },
  {
    name: 'failover after a graceful stop, ms, longest',
    bound: 200,
    at: 'most',
    measure: (find) => find('failover-stop')?.p99Ms,
  },
  {
    name: 'failed sends around a graceful stop',
    bound: 0,
    at: 'most',
    measure: (find) => find('failover-stop')?.failedSends,
  },
  {
    name: 'memory of the leader, growth by sends, MiB',
    bound: NOISE_MIB,
    at: 'most',
    measure: (find) => find('memory-growth-leader')?.rssMiB,
  },
  {
    name: 'memory of the sender, growth by sends, MiB',
    bound: NOISE_MIB,
    at: 'most',
    measure: (find) => find('memory-growth-sender')?.rssMiB,
  },
  {
    name: 'import of nestjs-hedge in a Nest app, ms',
    bound: 300,
    at: 'most',
    measure: (find) => find('startup-import')?.p50Ms,
  },
  ...['memory', 'sqlite'].map((backend): Target => ({
    name: `memory of an idle app with ${backend}, above an empty Nest app, MiB`,
    bound: 25,
    at: 'most',
    measure: (find) => find(`startup-memory-${backend}`)?.rssAboveNestMiB,
  })),
  {
    name: `bytes until ${LARGE_GROUP} members have joined, MB`,
    bound: 20,
    at: 'most',
    measure: (find) => find('scale-join', LARGE_GROUP)?.megabytes,
  },
  {
    name: `new leader of ${LARGE_GROUP} members after kill -9, ms`,
    bound: TIMING_PRESETS.lan.leaseMs + 1_000,
    at: 'most',
    measure: (find) => find('scale-kill-leader', LARGE_GROUP)?.p50Ms,
  },
  {
    name: `views of ${LARGE_GROUP} members settled after kill -9, ms`,
    bound: TIMING_PRESETS.lan.leaseMs + 1_000 + TIMING_PRESETS.lan.heartbeatTimeoutMs,
    at: 'most',
    measure: (find) => find('scale-kill-settled', LARGE_GROUP)?.p50Ms,
  },
  {
    name: `idle leader of ${LARGE_GROUP} members, % of a core`,
    bound: 10,
    at: 'most',
    measure: (find) => find('scale-idle-leader', LARGE_GROUP)?.cpuPercent,
  },
  {
    name: `failed sends around a hand-over among ${LARGE_GROUP} members`,
    bound: 0,
    at: 'most',
    measure: (find) => find('scale-hand-over', LARGE_GROUP)?.failedSends,
  },
];

/** The targets, and whether the rows reach them. */
export function judge(rows: readonly AnyRow[]): Verdict[] {
  const find: Find = (name, concurrency) =>
    rows.find((row) => row.name === name && (concurrency === undefined || row.concurrency === concurrency));
  return TARGETS.flatMap(({ name, bound, at, measure }) => {
    const measured = measure(find);
    if (measured === undefined) return [];
    const reached = at === 'least' ? measured >= bound : measured <= bound;
    return [{ target: `${name}: at ${at} ${bound.toLocaleString('en')}`, measured, reached }];
  });
}

/** For the rows of spill stores, whose p99 is a delay of the event loop. */
function longestDelay(find: Find): number | undefined {
  const delays = SPILLS.flatMap((name) => find(name)?.p99Ms ?? []);
  return delays.length === 0 ? undefined : Math.max(...delays);
}

function ratio(ours: number | undefined, floor: number | undefined): number | undefined {
  return ours === undefined || floor === undefined ? undefined : ours / floor;
}
