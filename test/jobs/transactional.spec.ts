import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { compileScript } from '../compiled-script.js';
import { sql, startServer } from '../postgres/target.js';

/** A longer run: HEDGE_SOAK_SECONDS=600 npm run jest -- test/jobs/transactional */
const SECONDS = Number(process.env['HEDGE_SOAK_SECONDS'] ?? 45);
const JOBS = 40;
const PODS = 3;
/** Longer than the lease of a pod that stands still. */
const STOPPED_MS = 5_000;

/** Where a pod is killed, stopped or disconnected. */
const FAULTS = [
  'killed before the claim',
  'killed during the claim',
  'killed after the claim',
  'killed in the work',
  'killed after the append',
  'killed during the commit',
  'killed after the commit',
  'killed after the read of the ledger',
  'stopped in the work',
  'stopped after the append',
  'disconnected during the commit',
] as const;

export type Fault = (typeof FAULTS)[number];

/** A planted bug: the `done` row is committed in a transaction of its own, before the work. */
export type Bug = 'done row apart from the work';

const script = compileScript('test/jobs/transactional-pod.ts');
let server: PostgresServer;

beforeAll(async () => {
  server = await startServer();
  await sql(server.url(), 'CREATE TABLE counted (job text, firing timestamptz, attempt integer)');
});

beforeEach(() => sql(server.url(), 'TRUNCATE counted'));

afterAll(async () => {
  await server.stop();
  script.remove();
});

/** Pods that fail: each has one fault, and another pod with the next fault replaces it when it has ended. */
class FailingPods {
  readonly happened = new Map<Fault, number>();
  readonly #pods = new Set<ChildProcess>();
  #next = 0;
  #failing = true;

  constructor(
    private readonly faults: readonly Fault[] = FAULTS,
    private readonly bug?: Bug,
  ) {}

  start(): void {
    const fault = this.faults[this.#next++ % this.faults.length]!;
    // The run of a firing, or of a later one, in which it happens.
    const count = 1 + Math.floor(Math.random() * 3 * JOBS);
    const pod = this.#fork(fault, count);
    let survived = 0;
    pod.on('message', (what) => {
      this.#note(fault);
      survived += 1;
      if (what === 'stopped') void resumeAndKill(pod);
      else if (survived === 3) pod.kill('SIGKILL');
    });
    pod.on('exit', () => {
      if (!this.#failing) return;
      if (survived === 0) this.#note(fault);
      this.start();
    });
  }

  startSound(): void {
    this.#fork('none', 0);
  }

  async kill(): Promise<void> {
    this.#failing = false;
    const ended = [...this.#pods].map((pod) => once(pod, 'exit'));
    for (const pod of this.#pods) pod.kill('SIGKILL');
    await Promise.all(ended);
  }

  #note(fault: Fault): void {
    this.happened.set(fault, (this.happened.get(fault) ?? 0) + 1);
  }

  #fork(fault: string, count: number): ChildProcess {
    const args = [server.url(), String(JOBS), fault, String(count), this.bug ?? ''];
    const pod = fork(script.path, args, { execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    this.#pods.add(pod);
    pod.on('exit', () => this.#pods.delete(pod));
    return pod;
  }
}

/** Resumes a stopped pod when its lease has ended, and ends it when it had time to go on. */
async function resumeAndKill(pod: ChildProcess): Promise<void> {
  await sleep(STOPPED_MS);
  pod.kill('SIGCONT');
  await sleep(STOPPED_MS);
  pod.kill('SIGKILL');
}

interface Row {
  readonly job: string;
  readonly firing: string;
  readonly event: string;
  readonly fireTime: string;
  readonly attempt: number;
}

/** The ledgers of all jobs, each in the order of commits. */
async function ledgers(): Promise<Row[]> {
  const rows = await sql(
    server.url(),
    "SELECT key, value FROM hedge.logtable WHERE key LIKE '\\_\\_hedge/job/%' ORDER BY key, timestamp, id",
  );
  return rows.map(({ key, value }) => {
    const row = JSON.parse(String(value)) as Omit<Row, 'job' | 'firing'>;
    const job = String(key).split('/').at(-1) ?? '';
    return { ...row, job, firing: `${job} at ${row.fireTime}` };
  });
}

/** How often the writes of each firing were committed. */
async function counted(): Promise<Map<string, number>> {
  const rows = await sql(server.url(), 'SELECT job, firing, count(*)::int AS times FROM counted GROUP BY job, firing');
  return new Map(
    rows.map(({ job, firing, times }) => [`${String(job)} at ${(firing as Date).toISOString()}`, Number(times)]),
  );
}

/** Firings that were committed twice or not recorded as done, and firings that are done and were never committed. */
async function violations(rows: readonly Row[]) {
  const done = new Set(rows.filter(({ event }) => event === 'done').map(({ firing }) => firing));
  const times = await counted();
  return {
    counted: [...times].filter(([firing, count]) => count !== 1 || !done.has(firing)),
    uncounted: [...done].filter((firing) => !times.has(firing)),
    done,
  };
}

describe('J4: the firings of transactional jobs', () => {
  it(
    `are counted once each while pods are killed at every step of a run, for ${SECONDS} s`,
    async () => {
      const pods = new FailingPods();
      try {
        for (let index = 0; index < PODS; index += 1) pods.start();
        const end = performance.now() + 1_000 * SECONDS;
        while (performance.now() < end || pods.happened.size < FAULTS.length) await sleep(100);
        await pods.kill();
        const failedUntil = new Date().toISOString();
        pods.startSound();
        const later = ({ event, fireTime }: Row): boolean => event === 'done' && fireTime > failedUntil;
        const upToDate = async (): Promise<number> =>
          new Set((await ledgers()).filter(later).map(({ job }) => job)).size;
        while ((await upToDate()) < JOBS) await sleep(500);
        await pods.kill();

        const rows = await ledgers();
        const { done, ...found } = await violations(rows);
        expect(found).toEqual({ counted: [], uncounted: [] });
        const claimed = rows.filter(({ event, fireTime }) => event === 'claimed' && fireTime < failedUntil);
        expect(claimed.filter(({ firing }) => !done.has(firing))).toEqual([]);
        expect(claimed.some(({ attempt }) => attempt > 1)).toBe(true);
        report(rows, pods.happened);
      } finally {
        await pods.kill();
      }
    },
    (SECONDS + 240) * 1_000,
  );

  it('would be lost if the row of the outcome were not in the transaction of the work', async () => {
    // The ledger has the firings of the test before, which the truncated table lacks.
    const before = new Set((await violations(await ledgers())).uncounted);
    const pods = new FailingPods(['killed after the append'], 'done row apart from the work');
    try {
      for (let index = 0; index < PODS; index += 1) pods.start();
      for (let lost = 0; lost === 0;) {
        await sleep(1_000);
        const { uncounted } = await violations(await ledgers());
        // One that is done by now may be counted in a moment.
        await sleep(STOPPED_MS);
        const times = await counted();
        lost = uncounted.filter((firing) => !before.has(firing) && !times.has(firing)).length;
      }
    } finally {
      await pods.kill();
    }
  }, 240_000);
});

/** The figures of a longer run. */
function report(rows: readonly Row[], happened: ReadonlyMap<Fault, number>): void {
  if (process.env['HEDGE_SOAK_SECONDS'] === undefined) return;
  const counts = new Map<string, number>(happened);
  for (const { event } of rows) counts.set(event, (counts.get(event) ?? 0) + 1);
  console.log([...counts].map(([what, count]) => `${String(count).padStart(8)}  ${what}`).join('\n'));
}
