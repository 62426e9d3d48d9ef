import 'reflect-metadata';
import './telemetry.js';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Pool } from 'pg';
import {
  ClusterService,
  HedgeModule,
  KvStore,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  SemaphoreService,
  type BackendFactory,
  type KvWatch,
  type Lock,
} from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import { answer } from './child.js';
import { contend } from './contend.js';
import { MESSAGE, runBlockingLoad, runLoad, type LoadShape } from './load.js';
import { FailoverWatch } from './failover-watch.js';
import { StreamController, streamCommands } from './stream-load.js';

const { BENCH_ADDRESS: address = '', BENCH_FILE: file = '', BENCH_SPANNER: database } = process.env;
const { BENCH_POSTGRES: url, BENCH_SCHEMA: schema = '', BENCH_RETENTION: retention } = process.env;

function backendOf(): BackendFactory {
  if (url !== undefined) return postgres({ connectionString: url, schema });
  return database === undefined ? sqlite({ file }) : spanner({ database });
}

/** The statements that this process has sent to PostgreSQL. */
let statements = 0;
const { query } = Client.prototype;
Client.prototype.query = function (this: Client, ...args: never) {
  statements += 1;
  return (query as (...args: never) => never).apply(this, args);
};

@Controller()
class EchoController {
  @OnLeaderMessage('echo')
  @OnBroadcast('echo')
  echo(@Payload() text: string): string {
    return text;
  }

  @OnLeaderMessage('who')
  who(): string {
    return address;
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'bench',
      address,
      timing: 'local',
      backend: backendOf(),
      ...(retention === undefined ? {} : { kv: { retention: [{ prefix: '', versions: 1 }] } }),
    }),
  ],
  controllers: [EchoController, StreamController],
})
class PodModule {}

/** With `BENCH_RETENTION`, versions are deleted after a second, not after ten minutes, so that retention always deletes. */
function withRetentionLimits(instance: unknown): unknown {
  const { kv } = (instance ?? {}) as { kv?: { retention?: unknown } };
  if (retention === undefined || kv?.retention === undefined) return instance;
  const retentionLimits = { everyMs: 1_000, leastAgeMs: 1_000, keys: 100, rows: 500, pauseMs: 20 };
  return { ...(instance as object), kv: { ...kv, retentionLimits } };
}

const app = await NestFactory.createApplicationContext(PodModule, {
  logger: ['error'],
  instrument: { instanceDecorator: withRetentionLimits },
});
app.enableShutdownHooks();
const leader = app.get(LeaderService);
const cluster = app.get(ClusterService);
const kv = app.get(KvStore);
const locks = app.get(LockService);
const semaphores = app.get(SemaphoreService);
const free = semaphores.get('free', { limit: 64 });
const contended = semaphores.get('contended', { limit: 1 });

/** The application's own pool and table. */
const invoices = new Pool({ connectionString: url });
const INSERT = `INSERT INTO ${schema}.invoice (note) VALUES ('${MESSAGE}')`;
let held: Promise<Lock> | undefined;
const fence = (): Promise<Lock> => (held ??= locks.acquire(`bench/fence/${address}`));

const KEYS = 1_000;
let count = 0;
const nextKey = (): string => `bench/${(count += 1) % KEYS}`;

const operations = {
  send: () => leader.send('echo', MESSAGE),
  broadcast: async () => {
    for (const result of await cluster.broadcast('echo', MESSAGE)) if (result.error) throw result.error;
  },
  put: () => kv.put(nextKey(), MESSAGE),
  watchedPut: () => kv.put(`watched/${nextKey()}`, MESSAGE),
  get: () => kv.get(nextKey()),
  lock: async () => {
    const lock = await locks.acquire(`bench/${address}`);
    await lock.release();
  },
  contendedLock: async () => {
    const lock = await locks.acquire('bench/contended', { timeoutMs: 60_000 });
    await lock.release();
  },
  transaction: async () => {
    const client = await invoices.connect();
    await client.query('BEGIN');
    await client.query(INSERT);
    await client.query('COMMIT');
    client.release();
  },
  fencedTransaction: async () => {
    const lock = await fence();
    await lock.transaction(invoices, (tx) => tx.query(INSERT));
  },
  semaphore: async () => {
    const permit = await free.acquire();
    await permit.release();
  },
};

/** Many calls between two reads of the clock, because one call takes less time than a read. */
const CALLS_PER_LOOK = 10_000;

/** The prefix of the keys of `fanOut`. */
const FAN = 'fan/';
/** Between two operations of `fanOut`, so that the one before has reached all pods. */
const FAN_OUT_PAUSE_MS = 20;
/** When the last watcher of this pod had each version, by the clock of the machine. */
const seen = new Map<string, { watchers: number; at: number }>();
let fanWatchers = 0;

function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

async function follow(watch: KvWatch): Promise<void> {
  for await (const { key, id } of watch) {
    if (!key.startsWith(FAN)) continue;
    const { watchers } = seen.get(id) ?? { watchers: 0 };
    seen.set(id, { watchers: watchers + 1, at: machineMs() });
  }
}

let watch: FailoverWatch | undefined;

const commands = {
  leader: () => leader.leader()?.address,
  members: () => cluster.members().length,
  run: ({ operation, ...shape }: LoadShape & { operation: keyof typeof operations }) =>
    runLoad(operations[operation], shape),
  contend: (shape: LoadShape) => contend(contended, shape),
  isLeader: ({ seconds }: LoadShape) => {
    let held = 0;
    const round = runBlockingLoad(() => {
      for (let call = 0; call < CALLS_PER_LOOK; call += 1) if (leader.isLeader()) held += 1;
    }, seconds);
    // Also keeps the compiler from removing calls whose results are unused.
    if (held === 0) throw new Error('isLeader() must be measured on the leader');
    return {
      operations: round.operations * CALLS_PER_LOOK,
      opsPerSecond: round.opsPerSecond * CALLS_PER_LOOK,
      p50Ms: round.p50Ms / CALLS_PER_LOOK,
      p99Ms: round.p99Ms / CALLS_PER_LOOK,
    };
  },
  fill: async () => {
    await Promise.all(Array.from({ length: KEYS }, () => kv.put(nextKey(), MESSAGE)));
  },
  watch: async ({ prefix, watchers }: { prefix: string; watchers: number }) => {
    const watches = Array.from({ length: watchers }, () => kv.watch(prefix));
    await Promise.all(watches.map(({ ready }) => ready));
    for (const each of watches) void follow(each);
    if (prefix === FAN) fanWatchers = watchers;
  },
  fanOut: async ({ seconds }: { seconds: number }) => {
    const written: { id: string; answeredAt: number; putMs: number; broadcastMs: number }[] = [];
    for (const end = machineMs() + seconds * 1_000; machineMs() < end;) {
      const start = machineMs();
      const { id } = await kv.put(`${FAN}${nextKey()}`, MESSAGE);
      const answeredAt = machineMs();
      await sleep(FAN_OUT_PAUSE_MS);
      const before = machineMs();
      await operations.broadcast();
      written.push({ id, answeredAt, putMs: answeredAt - start, broadcastMs: machineMs() - before });
      await sleep(FAN_OUT_PAUSE_MS);
    }
    return written;
  },
  /** When the last watcher of this pod had each of so many versions, by id. */
  arrivals: async (versions: number) => {
    const complete = () => [...seen].filter(([, { watchers }]) => watchers === fanWatchers);
    while (complete().length < versions) await sleep(10);
    const arrivals = Object.fromEntries(complete().map(([id, { at }]) => [id, at]));
    seen.clear();
    return arrivals;
  },
  /** The number of versions of all keys of `put`. */
  versions: async () => {
    let versions = 0;
    for (let key = 0; key < KEYS; key += 1) versions += (await kv.history(`bench/${key}`, { limit: Infinity })).length;
    return versions;
  },
  sendMany: async ({ messages, concurrency }: { messages: number; concurrency: number }) => {
    let left = messages;
    const caller = async (): Promise<void> => {
      while ((left -= 1) >= 0) await leader.send('echo', MESSAGE);
    };
    await Promise.all(Array.from({ length: concurrency }, caller));
  },
  ...streamCommands(leader),
  statements: () => statements,
  memory: () => process.memoryUsage.rss(),
  /** The CPU time of this process in microseconds. */
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  startWatch: ({ concurrency }: { concurrency: number }) => {
    watch = new FailoverWatch(() => leader.send<string>('who', null), concurrency);
  },
  stopWatch: () => watch?.stop(),
};
export type PodCommands = typeof commands;
answer(commands);
