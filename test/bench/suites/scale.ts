import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Child } from '../child.js';
import { withFolder } from '../cluster.js';
import type { Plan } from '../options.js';
import type { ScaleCommands } from '../scale-pods.js';
import { roundOf, type Row } from '../statistics.js';

type Pods = Child<ScaleCommands>;

/** Pods per process, apart from the first leader and one follower, which have a process each. */
const PODS_PER_PROCESS = 50;
const WATCH_MS = 5_000;
/** Longer than an unused link stays open. */
const UNUSED_MS = 65_000;
/** The members that broadcast once each, and the broadcasts of one of them. */
const BROADCASTERS = 5;
const WARM_BROADCASTS = 40;
/** The sends in the whole group while a leader or members stop: fewer than a large group on few cores can serve. */
const MOST_SENDS_PER_SECOND = 1_000;
/** No phase takes longer on a machine that can run the group. */
const PHASE_MS = 240_000;

export interface ScaleRow extends Row {
  readonly megabytes?: number;
  readonly kbPerSecond?: number;
  /** Share of one core. */
  readonly cpuPercent?: number;
  readonly connections?: number;
  readonly rssMiB?: number;
  readonly failedSends?: number;
}

/** A group of real apps on loopback, with the timing `lan`: how time, bytes, CPU and memory grow with its size. */
export async function scaleSuite({ members }: Plan): Promise<ScaleRow[]> {
  const rows: ScaleRow[] = [];
  for (const size of members) {
    rows.push(...(await withFolder((folder) => measure(join(folder, 'hedge.db'), size))));
  }
  return rows;
}

/** The processes of one group. */
class Group {
  #processes: Pods[] = [];

  private constructor(
    readonly leader: Pods,
    readonly follower: Pods,
    readonly others: readonly Pods[],
  ) {
    this.#processes = [leader, follower, ...others];
  }

  static async start(file: string, size: number): Promise<Group> {
    const processes = Math.ceil((size - 2) / PODS_PER_PROCESS);
    const start = (): Promise<Pods> => Child.start<ScaleCommands>('scale-pods.ts', { BENCH_FILE: file });
    const [leader, follower, ...others] = await Promise.all(Array.from({ length: 2 + processes }, start));
    return new Group(leader as Pods, follower as Pods, others);
  }

  get processes(): readonly Pods[] {
    return this.#processes;
  }

  /** The monotonic time at which the last member had a whole view. */
  async whole(count: number, not?: string): Promise<number> {
    const all = this.#processes.map((pods) => pods.ask('whole', { count, ...(not !== undefined && { not }) }));
    try {
      return Math.max(...(await inTime(`views of ${count} members`, Promise.all(all))));
    } catch (error) {
      const views = await Promise.all(this.#processes.map((pods) => pods.ask('views')));
      throw new Error(`The views are:\n${views.flat().join('\n')}`, { cause: error });
    }
  }

  async kill(pods: Pods): Promise<void> {
    this.#processes = this.#processes.filter((one) => one !== pods);
    await pods.end('SIGKILL');
  }

  async usage() {
    const all = await Promise.all(this.#processes.map((pods) => pods.ask('usage')));
    const sum = (of: (one: (typeof all)[number]) => number): number => all.reduce((total, one) => total + of(one), 0);
    return { bytes: sum(({ bytes }) => bytes), connections: sum(({ sockets }) => sockets) / 2 };
  }

  /** Each member sends one message after another, with that pause after each. */
  async sending(pauseMs: number, run: () => Promise<void>) {
    const before = monotonicMs();
    await Promise.all(this.#processes.map((pods) => pods.ask('send', { pauseMs })));
    await run();
    const all = await Promise.all(this.#processes.map((pods) => pods.ask('stopSending')));
    const failures = all.flatMap((one) => one.failures);
    for (const failure of new Set(failures)) console.error(`  a send failed: ${failure}`);
    const round = roundOf(
      all.flatMap(({ latenciesMs }) => latenciesMs),
      (monotonicMs() - before) / 1_000,
    );
    return { round, failedSends: failures.length };
  }

  end(): Promise<unknown> {
    return Promise.all([this.leader, this.follower, ...this.others].map((pods) => pods.end('SIGKILL')));
  }
}

async function measure(file: string, size: number): Promise<ScaleRow[]> {
  console.error(`  ${size} members …`);
  const group = await Group.start(file, size);
  const rows: ScaleRow[] = [];
  const add = (name: string, figures: Partial<ScaleRow>): void => {
    const row = { name, concurrency: size, opsPerSecond: 0, p50Ms: 0, p99Ms: 0, spread: 0, ...figures };
    console.error(
      `  ${name} ${JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value))}`,
    );
    rows.push(row);
  };
  try {
    await startAll(group, size, add);
    await idle(group, add);
    await broadcasts(group, add);
    await sends(group, add);
    await killLeader(group, size, add);
    await handOver(group, size - 1, add);
    await rollingRestart(group, size - 1, add);
    await shrink(group, add);
  } finally {
    await group.end();
  }
  return rows;
}

type Add = (name: string, figures: Partial<ScaleRow>) => void;

/** All members but the leader start at once. */
async function startAll(group: Group, size: number, add: Add): Promise<void> {
  await group.leader.ask('start', 1);
  const empty = await Promise.all(group.others.map((pods) => pods.ask('usage')));
  const start = monotonicMs();
  await group.follower.ask('start', 1);
  let left = size - 2;
  const starts = group.others.map((pods) => {
    const count = Math.min(PODS_PER_PROCESS, left);
    left -= count;
    return pods.ask('start', count);
  });
  await inTime('the starts', Promise.all(starts));
  const ms = (await group.whole(size)) - start;
  const { bytes, connections } = await group.usage();
  add('scale-join', { p50Ms: ms, megabytes: bytes / 1e6, connections });
  const full = await Promise.all(group.others.map((pods) => pods.ask('usage')));
  const grown = full.reduce((sum, { rss }, index) => sum + rss - (empty[index]?.rss ?? 0), 0);
  add('scale-memory', { rssMiB: grown / (size - 2) / 1024 / 1024 });
}

async function idle(group: Group, add: Add): Promise<void> {
  await sleep(WATCH_MS);
  await watchIdle(group, '', add);
}

async function watchIdle(group: Group, when: string, add: Add): Promise<void> {
  const watched = [group.leader, group.follower];
  const before = await Promise.all(watched.map((pods) => pods.ask('usage')));
  const start = monotonicMs();
  await sleep(WATCH_MS);
  const after = await Promise.all(watched.map((pods) => pods.ask('usage')));
  const ms = monotonicMs() - start;
  const { connections } = await group.usage();
  (['leader', 'follower'] as const).forEach((name, index) => {
    const [from, to] = [before[index], after[index]];
    if (from === undefined || to === undefined) return;
    add(`scale-idle-${name}${when}`, {
      cpuPercent: (100 * (to.cpuMs - from.cpuMs)) / ms,
      kbPerSecond: (to.bytes - from.bytes) / ms,
      connections,
    });
  });
}

async function broadcasts(group: Group, add: Add): Promise<void> {
  const [pods] = group.others;
  if (pods === undefined) return;
  const first: number[] = [];
  for (let index = 0; index < BROADCASTERS; index += 1)
    first.push(...(await pods.ask('broadcast', { index, times: 1 })));
  add('scale-broadcast-first', latencies(first));
  add('scale-broadcast', latencies(await pods.ask('broadcast', { index: 0, times: WARM_BROADCASTS })));
  await sleep(UNUSED_MS);
  await watchIdle(group, '-after-broadcasts', add);
}

/** All members send without a pause. */
async function sends(group: Group, add: Add): Promise<void> {
  const { round, failedSends } = await group.sending(0, () => sleep(WATCH_MS));
  const { opsPerSecond, p50Ms, p99Ms } = round;
  add('scale-send', { opsPerSecond, p50Ms, p99Ms, failedSends });
}

async function killLeader(group: Group, size: number, add: Add): Promise<void> {
  const [not = ''] = await group.leader.ask('addresses');
  if ((await group.follower.ask('leader')) !== not) throw new Error('the first leader has lost its lease');
  const { bytes } = await group.usage();
  const lost = (await group.leader.ask('usage')).bytes;
  const start = monotonicMs();
  await group.kill(group.leader);
  const led = inTime('a new leader', Promise.race(group.processes.map((pods) => pods.ask('led', { not }))));
  add('scale-kill-leader', { p50Ms: (await led) - start });
  const settled = (await group.whole(size - 1, not)) - start;
  add('scale-kill-settled', { p50Ms: settled, megabytes: ((await group.usage()).bytes - (bytes - lost)) / 1e6 });
}

/** The leader stops, while all members send. */
async function handOver(group: Group, size: number, add: Add): Promise<void> {
  const leader = (await group.follower.ask('leader')) ?? '';
  let ms = 0;
  const { failedSends } = await group.sending(pauseOf(size), async () => {
    await sleep(1_000);
    const start = monotonicMs();
    const led = inTime('a new leader', Promise.race(group.processes.map((pods) => pods.ask('led', { not: leader }))));
    const owner = await ownerOf(group, leader);
    await Promise.all([owner.ask('close', leader), led.then((at) => (ms = at - start))]);
    await group.whole(size - 1, leader);
    await sleep(1_000);
    // The follower may have been the leader.
    await owner.ask('start', 1);
    await group.whole(size, leader);
  });
  add('scale-hand-over', { p50Ms: ms, failedSends });
}

async function ownerOf(group: Group, address: string): Promise<Pods> {
  for (const pods of group.processes) if ((await pods.ask('addresses')).includes(address)) return pods;
  throw new Error(`no process has the member ${address}`);
}

/** One member after another stops, and another one starts, while all members send. */
async function rollingRestart(group: Group, size: number, add: Add): Promise<void> {
  const { bytes } = await group.usage();
  const start = monotonicMs();
  const { failedSends } = await group.sending(pauseOf(size), async () => {
    for (let restarts = 0; restarts < Math.floor(size / 5); restarts += 1) {
      const pods = group.others[restarts % group.others.length];
      if (pods !== undefined) await inTime('a restart', pods.ask('restart'));
    }
    await group.whole(size);
  });
  const ms = monotonicMs() - start;
  add('scale-rolling-restart', { p50Ms: ms, megabytes: ((await group.usage()).bytes - bytes) / 1e6, failedSends });
}

/** Each member sends at most ten times per second. */
function pauseOf(size: number): number {
  return Math.max(100, (1_000 * size) / MOST_SENDS_PER_SECOND);
}

/** All members but two stop at once. */
async function shrink(group: Group, add: Add): Promise<void> {
  const start = monotonicMs();
  const stops = group.others.map((pods, index) => pods.ask('keep', index === 0 ? 1 : 0));
  await inTime('the stops', Promise.all(stops));
  add('scale-shrink', { p50Ms: (await group.whole(2)) - start });
}

function latencies(all: readonly number[]): Pick<ScaleRow, 'p50Ms' | 'p99Ms'> {
  const { p50Ms, p99Ms } = roundOf(all, 1);
  return { p50Ms, p99Ms };
}

async function inTime<T>(what: string, result: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = sleep(PHASE_MS, undefined, { signal: timer.signal }).then(
    () => Promise.reject(new Error(`${what} did not come within ${PHASE_MS / 1_000} s`)),
    () => result,
  );
  return Promise.race([result, late]).finally(() => timer.abort());
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
