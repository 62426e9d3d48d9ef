import { setTimeout as sleep } from 'node:timers/promises';
import { Child } from '../child.js';
import { Cluster, type Pod } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { LoadShape } from '../load.js';
import type { Plan } from '../options.js';
import type { PostgresFloorCommands } from '../postgres-floor.js';
import { SCHEMA, withPostgres } from '../postgres-schema.js';
import type { Round, Row } from '../statistics.js';

export interface PostgresRow extends Row {
  /** Statements of an idle pod in a third of its lease. */
  readonly statementsPerThird?: number;
}

const PODS = 3;
const LEASE_MS = 3_000;
/** The time in which the statements of idle pods are counted, in thirds of a lease. */
const THIRDS = 8;

type Floor = Child<PostgresFloorCommands>;

/** Puts, gets and locks of three pods, compared with `pg` alone on the same server. */
export function postgresSuite(plan: Plan, url: string | undefined): Promise<PostgresRow[]> {
  return withPostgres(url, (server) =>
    withFloors(server, (floors) =>
      Cluster.runOn({ BENCH_POSTGRES: server, BENCH_SCHEMA: SCHEMA.pods }, PODS, async (cluster) => {
        const [floor] = floors as [Floor];
        const follower = await cluster.follower();
        await floor.ask('fill');
        await follower.ask('fill');
        const pods = cluster.pods();
        const idle = await idleRows(cluster);
        const hedge = (
          operation: 'put' | 'get' | 'lock' | 'transaction' | 'fencedTransaction',
          concurrency: number,
          name = `postgres-${operation}`,
        ): Contestant => ({
          name,
          concurrency,
          run: (shape) => follower.ask('run', { operation, ...shape }),
        });
        const alone = (command: 'insert' | 'select' | 'advisoryLock', name: string, concurrency: number) => ({
          name,
          concurrency,
          run: (shape: LoadShape) => floor.ask(command, shape),
        });
        const rows = await compete(
          [
            alone('insert', 'pg-one-row', 1),
            alone('insert', 'pg-one-row', 16),
            hedge('put', 1),
            hedge('put', 64),
            alone('select', 'pg-select', 1),
            alone('select', 'pg-select', 16),
            hedge('get', 1),
            hedge('get', 64),
            alone('advisoryLock', 'pg-advisory-lock', 1),
            hedge('lock', 1),
            {
              name: 'pg-advisory-polling',
              concurrency: 64,
              run: (shape) => together(floors, shape, (one, share) => one.ask('poll', share)),
            },
            {
              name: 'postgres-lock-contended',
              concurrency: 64,
              run: (shape) =>
                together(pods, shape, (pod: Pod, share) => pod.ask('run', { operation: 'contendedLock', ...share })),
            },
            hedge('transaction', 1, 'pg-transaction'),
            hedge('fencedTransaction', 1, 'postgres-fenced-transaction'),
          ],
          plan,
        );
        return [...rows, ...idle];
      }),
    ),
  );
}

async function withFloors<T>(server: string, use: (floors: readonly Floor[]) => Promise<T>): Promise<T> {
  const floors: Floor[] = [];
  try {
    for (let pod = 0; pod < PODS; pod += 1) {
      floors.push(await Child.start<PostgresFloorCommands>('postgres-floor.ts', { BENCH_POSTGRES: server }));
    }
    return await use(floors);
  } finally {
    await Promise.all(floors.map((floor) => floor.end('SIGKILL')));
  }
}

/** The callers are spread over processes, which run at the same time. The latencies are those of the slowest process. */
async function together<Process>(
  processes: readonly Process[],
  { concurrency, seconds }: LoadShape,
  run: (process: Process, share: LoadShape) => Promise<Round>,
): Promise<Round> {
  const rounds = await Promise.all(
    processes.map((process, index) =>
      run(process, { concurrency: Math.floor((concurrency + index) / processes.length), seconds }),
    ),
  );
  return {
    operations: rounds.reduce((sum, { operations }) => sum + operations, 0),
    opsPerSecond: rounds.reduce((sum, { opsPerSecond }) => sum + opsPerSecond, 0),
    p50Ms: Math.max(...rounds.map(({ p50Ms }) => p50Ms)),
    p99Ms: Math.max(...rounds.map(({ p99Ms }) => p99Ms)),
  };
}

async function idleRows(cluster: Cluster): Promise<PostgresRow[]> {
  const { pod: leader } = await cluster.leader();
  const follower = await cluster.follower();
  const count = async () => [await leader.ask('statements'), await follower.ask('statements')] as const;
  const before = await count();
  await sleep((THIRDS * LEASE_MS) / 3);
  const after = await count();
  return (['leader', 'follower'] as const).map((name, index) => ({
    name: `postgres-idle-${name}`,
    concurrency: 0,
    opsPerSecond: 0,
    p50Ms: 0,
    p99Ms: 0,
    spread: 0,
    statementsPerThird: ((after[index] ?? 0) - (before[index] ?? 0)) / THIRDS,
  }));
}
