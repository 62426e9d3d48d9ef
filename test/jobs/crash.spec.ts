import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, it } from '@jest/globals';
import type { Told } from './pod.js';

const folder = mkdtempSync(join(tmpdir(), 'hedge-jobs-'));
const pods: ChildProcess[] = [];

function start(kind: 'hang' | 'work'): ChildProcess {
  const pod = fork(resolve('test/jobs/pod.ts'), [join(folder, 'hedge.db'), kind], { execArgv: ['--import', 'tsx'] });
  pods.push(pod);
  return pod;
}

async function firstRun(pod: ChildProcess): Promise<Told> {
  const [told] = (await once(pod, 'message', { signal: AbortSignal.timeout(30_000) })) as [Told];
  return told;
}

async function kill(pod: ChildProcess): Promise<void> {
  if (pod.exitCode !== null || pod.signalCode !== null) return;
  pod.kill('SIGKILL');
  await once(pod, 'exit');
}

afterAll(async () => {
  await Promise.all(pods.map(kill));
  rmSync(folder, { recursive: true, force: true });
});

it('J3: a run whose process is killed in it is reported as lost, and caught up by the next leader', async () => {
  const first = start('hang');
  const lost = await firstRun(first);
  const second = start('work');
  const caughtUp = firstRun(second);
  await kill(first);
  expect(lost).toMatchObject({ attempt: 1, events: ['scheduled', 'claimed'] });
  const events = ['scheduled', 'claimed', 'lost', 'claimed'];
  expect(await caughtUp).toEqual({ fireTime: lost.fireTime, attempt: 2, events });
}, 90_000);
