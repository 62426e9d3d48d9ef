import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { compileScript } from '../compiled-script.js';
import { openTarget } from '../spanner/target.js';
import type { RunReport } from './pod.js';

const script = compileScript('test/jobs/pod.ts');
/** Resources to close after the test, also when it fails. */
const open: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

afterAll(() => script.remove());

/** A database on this machine that several processes share. */
async function databaseOf(driver: string): Promise<string> {
  if (driver === 'spanner') {
    const target = await openTarget();
    open.push(() => target.close());
    return target.database;
  }
  const folder = mkdtempSync(join(tmpdir(), 'hedge-jobs-'));
  open.push(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'hedge.db');
}

function start(database: string, kind: 'hang' | 'work'): ChildProcess {
  // The environment with the changes of this test.
  const options = { execArgv: [], env: process.env };
  const pod = fork(script.path, [database, kind], options);
  open.push(() => kill(pod));
  return pod;
}

async function firstRun(pod: ChildProcess): Promise<RunReport> {
  const ended = once(pod, 'exit').then(() => Promise.reject(new Error('the pod ended')));
  const message = once(pod, 'message', { signal: AbortSignal.timeout(60_000) });
  const [run] = (await Promise.race([message, ended])) as [RunReport];
  ended.catch(() => undefined);
  return run;
}

async function kill(pod: ChildProcess): Promise<void> {
  if (pod.exitCode !== null || pod.signalCode !== null) return;
  pod.kill('SIGKILL');
  await once(pod, 'exit');
}

describe('J3: a run whose process is killed', () => {
  it.each(['sqlite', 'spanner'])(
    'is reported as lost, and caught up by the next leader, on %s',
    async (driver) => {
      const database = await databaseOf(driver);
      const first = start(database, 'hang');
      const lost = await firstRun(first);
      const caughtUp = firstRun(start(database, 'work'));
      await kill(first);
      expect(lost).toMatchObject({ attempt: 1, events: ['scheduled', 'claimed'] });
      const events = ['scheduled', 'claimed', 'lost', 'claimed'];
      expect(await caughtUp).toEqual({ fireTime: lost.fireTime, attempt: 2, events });
    },
    3 * 60_000,
  );
});
