// One pod in a separate process, which the test controls over IPC. It contains only the library: no HTTP, no demo.
import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConsoleLogger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import { Pool, type PoolClient } from 'pg';
import {
  type BackendFactory,
  ClusterService,
  HedgeError,
  HedgeModule,
  type JobRun,
  JobsService,
  type KvEntry,
  type KvOperation,
  KvStore,
  type KvWatch,
  LeaderInterval,
  LeaderService,
  type Lock,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  type Permit,
  SemaphoreService,
} from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { HedgePrometheusModule } from 'nestjs-hedge/prometheus';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import { register } from 'prom-client';
import type {
  Answer,
  Call,
  Leadership,
  PodCalls,
  PodSettings,
  SeenWhileBlocked,
  Sends,
  WatchedFrom,
} from './protocol.js';

const settings = JSON.parse(process.argv[2]!) as PodSettings;

const pool =
  settings.postgres?.pool === undefined
    ? undefined
    : new Pool({ connectionString: settings.postgres.url, max: settings.postgres.pool });
pool?.on('error', () => undefined);

function backend({ file, spanner: there, postgres: server }: PodSettings): BackendFactory {
  if (pool !== undefined) return postgres({ pool });
  if (server !== undefined) return postgres({ connectionString: server.url });
  if (there === undefined) return sqlite({ file });
  process.env['SPANNER_EMULATOR_HOST'] = there.emulator;
  return spanner({ database: there.database });
}

class Handlers {
  @OnLeaderMessage('work')
  async work(@Payload() job: { ms: number }): Promise<number> {
    load.working += 1;
    await sleep(job.ms);
    load.working -= 1;
    return process.pid;
  }

  @OnBroadcast('who')
  who(): number {
    return process.pid;
  }
}

/** The one job: does nothing, unless the test asked it to block. */
class Job {
  @LeaderInterval(1_000, { name: 'blocking' })
  run({ fireTime }: JobRun): void {
    const blocking = load.blocking;
    load.blocking = undefined;
    blocking?.(fireTime);
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: settings.group,
      address: settings.address,
      backend: backend(settings),
      timing: 'local',
      shutdown: { drainMs: 1_000 },
      ...(settings.secret === undefined ? {} : { secret: settings.secret }),
      ...(settings.renewal === undefined ? {} : { renewal: settings.renewal }),
      ...(settings.maxStallMs === undefined ? {} : { maxStallMs: settings.maxStallMs }),
      ...(settings.retention === undefined ? {} : { kv: { retention: settings.retention.rules } }),
    }),
    ...(settings.retention === undefined ? [] : [HedgePrometheusModule.forRoot()]),
  ],
  providers: settings.renewal === undefined ? [Handlers] : [Handlers, Job],
})
class PodModule {}

/** Shortens the times of retention, which no option does: a version stays for ten minutes. */
function withRetentionLimits(instance: unknown): unknown {
  const { kv } = (instance ?? {}) as { kv?: { retention?: unknown } };
  if (settings.retention === undefined || kv?.retention === undefined) return instance;
  return { ...(instance as object), kv: { ...kv, retentionLimits: settings.retention.limits } };
}

const app = await NestFactory.createApplicationContext(PodModule, {
  logger: new ConsoleLogger({ colors: false }),
  abortOnError: false,
  instrument: { instanceDecorator: withRetentionLimits },
}).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
app.enableShutdownHooks();

const leader = app.get(LeaderService);
const cluster = app.get(ClusterService);
const kv = app.get(KvStore);
const jobs = app.get(JobsService);
const locks = app.get(LockService);
const held = new Map<string, Lock>();
const semaphores = app.get(SemaphoreService);
const permits = new Map<string, Permit>();

/** How often the pod looks whether it leads, in milliseconds. */
const LOOK_MS = 5;
const terms: Mutable<Leadership>[] = [];
setInterval(look, LOOK_MS).unref();

const occupied: PoolClient[] = [];

let watched: string[] = [];

const sends: Sends = { done: 0, failed: [], slowestMs: 0 };
const load = {
  working: 0,
  stop: false,
  ended: Promise.resolve<unknown>(undefined),
  blocking: undefined as ((fireTime: Date) => void) | undefined,
};

async function follow(watch: KvWatch, seen: string[]): Promise<void> {
  for await (const entry of watch) seen.push(shownVersion(entry));
}

function shownVersion({ key, version, id }: KvEntry): string {
  return `${key} ${version} ${id}`;
}

function byCommit(a: KvEntry, b: KvEntry): number {
  if (a.version !== b.version) return a.version < b.version ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}

const calls: PodCalls = {
  state: async () => ({
    working: load.working,
    isLeader: leader.isLeader(),
    token: leader.fencingToken,
    leader: leader.leader()?.address,
    settled: cluster.view.settled,
    members: cluster.members().map(({ address }) => address),
  }),
  put: (key, value, options) => kv.put(key, value, options),
  get: async (key) => (await kv.get(key))?.value,
  putIfUnchanged: async (key, value, timeoutMs) => {
    const entry = await kv.get(key);
    const expected = entry?.value;
    const condition = entry === undefined ? { ifAbsent: true } : { ifVersion: entry };
    try {
      await kv.put(key, value, { ...condition, timeoutMs });
      return { expected, outcome: 'written' };
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') return { expected, outcome: 'unknown' };
      const found = error.details['entry'] as KvEntry | undefined;
      return { expected, outcome: 'conflict', found: found?.deleted === true ? undefined : found?.value };
    }
  },
  transactIfUnchanged: async (keys, value, timeoutMs) => {
    const entries = await kv.getMany(keys);
    const expected = Object.fromEntries(keys.map((key, place) => [key, entries[place]?.value]));
    const operations = keys.map((key, place): KvOperation => {
      const entry = entries[place];
      if (place < keys.length - 1) return { put: key, value, ...(entry ? { ifVersion: entry } : { ifAbsent: true }) };
      return entry === undefined ? { check: key, ifAbsent: true } : { delete: key, ifVersion: entry };
    });
    try {
      await kv.transaction(operations, { timeoutMs });
      return { expected, outcome: 'written' };
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') return { expected, outcome: 'unknown' };
      const { keys: changed, entries: there } = error.details as { keys: string[]; entries: KvEntry[] };
      const found = there.map(({ key, value, deleted }) => [key, deleted === true ? undefined : value]);
      return { expected, outcome: 'conflict', keys: changed, found: Object.fromEntries(found) };
    }
  },
  delete: (key, timeoutMs) => kv.delete(key, { timeoutMs }),
  watch: async (prefix) => {
    const watch = kv.watch(prefix);
    await watch.ready;
    watched = [];
    void follow(watch, watched);
  },
  watched: async () => watched,
  watchFrom: async (prefix, from, count) => {
    const seen: string[] = [];
    try {
      for await (const entry of kv.watch(prefix, { from })) {
        seen.push(shownVersion(entry));
        if (seen.length === count) break;
      }
      return { seen };
    } catch (error) {
      const { code, details } = error as HedgeError;
      return { seen, error: { code, from: details['from'] } } as WatchedFrom;
    }
  },
  stored: async (keys) => {
    const entries = (await Promise.all(keys.map((key) => kv.history(key, { limit: Infinity })))).flat();
    return entries.sort(byCommit).map(shownVersion);
  },
  history: async (key) => {
    const entries = await kv.history(key, { limit: Infinity, order: 'oldest-first' });
    return entries.map(({ value }) => value);
  },
  compact: async (timeoutMs) => (await kv.compact({ timeoutMs })).deleted,
  metrics: async () => {
    const lines = (await register.metrics())
      .split('\n')
      .filter((line) => /^\w/.test(line) && !line.includes('_bucket'));
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  },
  send: (ms, timeoutMs) => leader.send<number>('work', { ms }, { timeoutMs }),
  who: async () => (await cluster.broadcast<number>('who', {})).map(({ value }) => value),
  lock: async (name, timeoutMs) => {
    const lock = await locks.acquire(name, { timeoutMs });
    held.set(name, lock);
    return lock.fencingToken;
  },
  held: async (name) => {
    const { fencingToken: token, signal, isValid } = held.get(name)!;
    const valid = isValid();
    return { token, valid, lost: (signal.reason as { code: string } | undefined)?.code };
  },
  acquire: async (name, timeoutMs) => {
    const permit = await semaphores.get(name, { limit: 1 }).acquire({ timeoutMs });
    permits.set(name, permit);
    return permit.fencingToken;
  },
  permit: async (name) => {
    const { fencingToken: token, signal } = permits.get(name)!;
    const valid = permits.get(name)!.isValid();
    return { token, valid, lost: (signal.reason as { code: string } | undefined)?.code };
  },
  releasePermit: (name) => permits.get(name)!.release(),
  startSending: async (concurrency) => {
    load.ended = Promise.all(Array.from({ length: concurrency }, keepSending));
  },
  sendsSoFar: async () => sends,
  stopSending: async () => {
    load.stop = true;
    await load.ended;
    return sends;
  },
  terms: async () => terms,
  block: async (ms, lock) => block(ms, lock),
  blockInJob: async (ms, lock) => {
    const [fireTime, seen] = await new Promise<[Date, SeenWhileBlocked]>((resolve) => {
      load.blocking = (firedAt) => resolve([firedAt, block(ms, lock)]);
    });
    for (;;) {
      const entry = (await jobs.history('blocking', { limit: 20 })).find(
        (one) => one.fireTime.getTime() === fireTime.getTime() && one.event !== 'claimed',
      );
      if (entry !== undefined) return { ...seen, outcome: entry.event };
      await sleep(20);
    }
  },
  occupyPool: async (all) => {
    if (!all) for (const client of occupied.splice(0)) client.release();
    else for (let size = settings.postgres?.pool ?? 0; size > 0; size -= 1) occupied.push(await pool!.connect());
  },
};

process.on('message', (call: Call) => void answer(call));
process.send!({ ready: cluster.self.address });

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** Milliseconds of the machine's monotonic clock. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** A term is final. So the pod also led between two looks that found the same token. */
function look(): void {
  const before = now();
  const token = leader.isLeader() ? leader.fencingToken : undefined;
  if (token === undefined) return;
  const last = terms.at(-1);
  if (last?.token === token) last.until = before;
  else terms.push({ token, from: now(), until: before });
}

function block(ms: number, lock: string): SeenWhileBlocked {
  const led: boolean[] = [];
  const locked: boolean[] = [];
  for (const end = now() + ms; now() < end;) {
    look();
    note(led, leader.isLeader());
    note(locked, held.get(lock)?.isValid() ?? false);
  }
  return { led, locked };
}

function note(seen: boolean[], value: boolean): void {
  if (seen.at(-1) !== value) seen.push(value);
}

async function answer({ id, method, args }: Call): Promise<void> {
  const reply: Answer = await (calls[method] as (...args: unknown[]) => Promise<unknown>)(...args).then(
    (value) => ({ id, value }),
    (error: unknown) => ({ id, error: JSON.parse(JSON.stringify(error)) as Answer['error'] }),
  );
  process.send!(reply);
}

async function keepSending(): Promise<void> {
  while (!load.stop) {
    const start = performance.now();
    try {
      await leader.send<number>('work', { ms: 5 });
      sends.done += 1;
      sends.slowestMs = Math.max(sends.slowestMs, performance.now() - start);
    } catch (error) {
      sends.failed.push(String(error));
    }
  }
}
