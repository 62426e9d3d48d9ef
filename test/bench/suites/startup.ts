import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../../scripts/free-port.js';
import { withFolder } from '../cluster.js';
import type { Plan } from '../options.js';
import { median, type Row } from '../statistics.js';

const APP = fileURLToPath(new URL('../startup-app.mjs', import.meta.url));
const MIB = 1024 * 1024;

export interface StartupRow extends Row {
  /** Resident memory above that of an empty Nest app. */
  readonly rssAboveNestMiB?: number;
}

interface Report {
  readonly importMs: number;
  readonly rss: number;
}

/** What HedgeModule adds to an empty Nest app: the time to load the package, and resident memory. */
export async function startupSuite({ rounds }: Plan): Promise<StartupRow[]> {
  const backends = ['memory', 'sqlite'];
  const reports = new Map<string | undefined, Report[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const backend of [undefined, 'threads', ...backends]) {
      reports.set(backend, [...(reports.get(backend) ?? []), await run(backend)]);
    }
  }
  const rssOf = (backend?: string): number => median((reports.get(backend) ?? []).map(({ rss }) => rss));
  const imports = backends.flatMap((backend) => reports.get(backend) ?? []).map(({ importMs }) => importMs);
  const none = { concurrency: 0, opsPerSecond: 0, p50Ms: 0, p99Ms: 0, spread: 0 };
  return [
    { ...none, name: 'startup-import', p50Ms: median(imports), p99Ms: Math.max(...imports) },
    ...['threads', ...backends].map((backend) => ({
      ...none,
      name: `startup-memory-${backend}`,
      rssAboveNestMiB: (rssOf(backend) - rssOf()) / MIB,
    })),
  ];
}

/** @param backend undefined for an empty app, 'threads' for one with two threads that each open a database, without Hedge */
function run(backend: string | undefined): Promise<Report> {
  return withFolder(async (folder) => {
    const settings = { BENCH_ADDRESS: `127.0.0.1:${await freePort()}`, BENCH_FILE: join(folder, 'hedge.db') };
    const env = { ...process.env, ...settings, ...(backend !== undefined && { BENCH_BACKEND: backend }) };
    const app = fork(APP, { env, execArgv: [] });
    const ended = once(app, 'exit');
    try {
      const died = ended.then(([code]) => Promise.reject(new Error(`the app of the suite startup ended with ${code}`)));
      const [report] = (await Promise.race([once(app, 'message'), died])) as [Report];
      return report;
    } finally {
      app.kill('SIGKILL');
      await ended;
    }
  });
}
