import type { FailoverRow } from './suites/failover.js';
import type { MemoryRow } from './suites/memory.js';
import type { SemaphoreRow } from './suites/semaphore.js';
import type { SpannerRow } from './suites/spanner.js';
import type { Row } from './statistics.js';

/** A row as the suites make it; only some suites fill in the rest. */
export type AnyRow = Row & Partial<FailoverRow> & Partial<MemoryRow> & Partial<SpannerRow> & Partial<SemaphoreRow>;

export interface Verdict {
  readonly target: string;
  readonly measured: number;
  readonly reached: boolean;
}

/** The lease of the pods here, in milliseconds (timing `local`). */
const LEASE_MS = 3_000;

/** No growth is expected; this much the resident memory of a Node process moves by itself. */
const NOISE_MIB = 16;

type Find = (name: string, concurrency?: number) => AnyRow | undefined;

interface Target {
  readonly name: string;
  readonly bound: number;
  readonly at: 'least' | 'most';
  /** Undefined when a row that it needs was not measured. */
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
    bound: 0.4,
    at: 'least',
    measure: (find) => ratio(find('send', 64)?.opsPerSecond, find('raw-link', 64)?.opsPerSecond),
  },
  {
    name: 'send / nest-grpc-unary, p50 at 1',
    bound: 0.6,
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
    name: 'get at 64 / sqlite-read, rate',
    bound: 0.35,
    at: 'least',
    measure: (find) => ratio(find('get', 64)?.opsPerSecond, find('sqlite-read')?.opsPerSecond),
  },
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
];

/** What was asked for, and whether the rows reach it. */
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

function ratio(ours: number | undefined, floor: number | undefined): number | undefined {
  return ours === undefined || floor === undefined ? undefined : ours / floor;
}
