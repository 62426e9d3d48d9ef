import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { compileScript } from '../compiled-script.js';
import { until } from '../nest/apps.js';
import type { PodReport } from './poison-pod.js';

const script = compileScript('test/messaging/poison-pod.ts');
let file: string;
let pods: ChildProcess[];
let reports: PodReport[];

beforeEach(() => {
  file = join(mkdtempSync(join(tmpdir(), 'hedge-poison-')), 'hedge.db');
  [pods, reports] = [[], []];
});

afterEach(async () => {
  for (const pod of pods) {
    if (pod.exitCode !== null || pod.signalCode !== null) continue;
    pod.kill('SIGKILL');
    await once(pod, 'exit');
  }
  rmSync(join(file, '..'), { recursive: true, force: true });
});

afterAll(() => script.remove());

function start(...args: string[]): ChildProcess {
  const pod = fork(script.path, [file, ...args], {
    execArgv: [],
    env: process.env,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  pod.on('message', (message) => void reports.push(message as PodReport));
  pods.push(pod);
  return pod;
}

const of = <Type extends PodReport['type']>(type: Type) =>
  reports.filter((one): one is Extract<PodReport, { type: Type }> => one.type === type);

async function startMembers(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) start('member');
  await until(() => of('leads').length > 0, 'a leader');
}

/** Sends from a separate process, and waits for the outcome. */
async function outcomeOf(topic: string, maxReruns = ''): Promise<Extract<PodReport, { type: 'ended' }>> {
  start('client', topic, maxReruns);
  await until(() => of('ended').length > 0, 'the outcome of the message', 150_000);
  return of('ended')[0]!;
}

const alive = (): number => pods.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null).length;

describe('a message whose handler ends the process that runs it', () => {
  it('ends two leaders and then fails with OUTCOME_UNKNOWN, and the third leader survives', async () => {
    await startMembers(3);
    const ended = await outcomeOf('throws');
    expect(ended).toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { attempts: 2, started: true } });
    expect(ended.message).toMatch(/2 leaders in a row were lost .* \(maxReruns: 1\)/);
    const ran = of('ran');
    expect(ran.map(({ attempt }) => attempt)).toEqual([1, 2]);
    const { requestId } = ran[0]!;
    expect(ended.details).toMatchObject({ requestId });
    await until(() => of('leads').length === 3, 'the third leader');
    const lines = of('log').map(({ line }) => line);
    expect(lines.filter((line) => line.includes(requestId) && line.includes("'throws'"))).toEqual([
      expect.stringMatching(/rerun 1 of at most 1$/),
      expect.stringMatching(/does not run again: OUTCOME_UNKNOWN after 2 attempts$/),
    ]);
    await until(() => alive() <= 2, 'the ends of two leaders');
    // The third leader, and the client until it has closed.
    expect(alive()).toBeGreaterThanOrEqual(1);
  }, 300_000);

  it('ends one leader when maxReruns is 0', async () => {
    await startMembers(2);
    expect(await outcomeOf('throws', '0')).toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { attempts: 1 } });
    expect(of('ran')).toHaveLength(1);
    await until(() => of('leads').length === 2, 'the second leader');
  }, 300_000);
});

it('a message whose handler blocks the event loop for longer than the lease runs twice, and no more', async () => {
  await startMembers(3);
  expect(await outcomeOf('blocks')).toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { attempts: 2 } });
  expect(of('ran').map(({ attempt }) => attempt)).toEqual([1, 2]);
}, 300_000);
