import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClusterService, HedgeModule, KvStore, LeaderService, type KvEntry, type KvWatch } from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';
import { sqlite } from 'nestjs-hedge/sqlite';
import { HedgeTestingModule, MemoryNetwork } from 'nestjs-hedge/testing';
import { compileScript } from '../compiled-script.js';
import { until } from '../nest/apps.js';
import type { PresenceReport } from './presence-pod.js';

/** The entries that a watch has yielded so far. */
function collect(watch: KvWatch): KvEntry[] {
  const seen: KvEntry[] = [];
  const read = async (): Promise<void> => {
    for await (const entry of watch) seen.push(entry);
  };
  read().catch(() => undefined);
  return seen;
}

const membersOf = (pod: TestingModule): number => pod.get(ClusterService).view?.members.length ?? 0;
const isLeader = (pod: TestingModule): boolean => pod.get(LeaderService).isLeader();

async function end(pod: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (pod.exitCode !== null || pod.signalCode !== null) return;
  pod.kill(signal);
  await once(pod, 'exit');
}

describe('keys of processes, put with whileAlive', () => {
  const script = compileScript('test/kv/presence-pod.ts');
  let file: string;
  let pods: Map<string, ChildProcess>;
  let reports: PresenceReport[];
  let client: INestApplicationContext;
  let kv: KvStore;

  beforeEach(async () => {
    file = join(mkdtempSync(join(tmpdir(), 'hedge-presence-')), 'hedge.db');
    pods = new Map();
    reports = [];
    for (const name of ['a', 'b', 'c']) {
      const pod = fork(script.path, [file, name], { execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
      pod.on('message', (message) => void reports.push(message as PresenceReport));
      pods.set(name, pod);
    }
    const module = HedgeModule.forRoot({
      group: 'presence',
      mode: 'client',
      timing: 'local',
      backend: sqlite({ file }),
    });
    client = await NestFactory.createApplicationContext({ module: class {}, imports: [module] }, { logger: false });
    kv = client.get(KvStore);
    await untilListed(['a', 'b', 'c']);
  });

  afterEach(async () => {
    await client.close();
    for (const pod of pods.values()) await end(pod, 'SIGKILL');
    rmSync(join(file, '..'), { recursive: true, force: true });
  });

  afterAll(() => script.remove());

  /** On a busy machine a read may fail, and a pod that is not heard in time is listed again soon. */
  const untilListed = (names: readonly string[]): Promise<void> =>
    until(async () => {
      const keys = await kv.keys('pods/').catch(() => []);
      return keys.join() === names.map((name) => `pods/${name}`).join();
    }, `the pods ${names.join()}`);
  const leader = (): string => reports.filter(({ type }) => type === 'leads').at(-1)?.name ?? '';
  const others = (...ended: string[]): string[] => [...pods.keys()].filter((name) => !ended.includes(name));

  it('K6 go when a pod is killed, also the leader, and stay while the others run', async () => {
    const first = leader();
    const [follower = ''] = others(first);
    await end(pods.get(follower)!, 'SIGKILL');
    await untilListed(others(follower));
    expect((await kv.history(`pods/${follower}`))[0]).toMatchObject({ expired: true });

    await end(pods.get(first)!, 'SIGKILL');
    await untilListed(others(follower, first));
  }, 120_000);

  it('go at once when a pod stops, also the leader, which deletes its own keys', async () => {
    const name = leader();
    const seen = collect(kv.watch('pods/'));
    await end(pods.get(name)!, 'SIGTERM');
    await untilListed(others(name));
    await until(() => seen.some(({ key }) => key === `pods/${name}`), 'the deletion');
    const ofPod = seen.filter(({ key }) => key === `pods/${name}`);
    expect(ofPod).toMatchObject([{ deleted: true }]);
    expect(ofPod[0]?.expired).toBeUndefined();
  }, 120_000);
});

describe('keys of a pod that is cut off', () => {
  let network: MemoryNetwork;
  let pods: TestingModule[];

  beforeEach(async () => {
    network = new MemoryNetwork();
    const database = memoryDatabase();
    pods = [];
    for (const address of ['a:1', 'b:1', 'c:1']) {
      const imports = [HedgeTestingModule.forRoot({ network, backend: memory({ database }), address })];
      const pod = await Test.createTestingModule({ imports }).compile();
      pods.push(pod);
      await pod.init();
    }
    await until(() => pods.every((pod) => membersOf(pod) === 3), 'three pods know each other');
  });

  afterEach(async () => {
    network.heal();
    for (const pod of pods) await pod.close();
  });

  /** A follower that is cut off from the others, and the leader. */
  function roles(): { owner: TestingModule; leader: TestingModule; cutOff: () => void } {
    const leader = pods.find(isLeader)!;
    const owner = pods.find((pod) => !isLeader(pod))!;
    const self = owner.get(ClusterService).self;
    const cutOff = (): void => {
      for (const pod of pods) if (pod !== owner) network.partition(self, pod.get(ClusterService).self);
    };
    return { owner, leader, cutOff };
  }

  it('are deleted, and put again when it is back', async () => {
    const { owner, leader, cutOff } = roles();
    const kv = leader.get(KvStore);
    const put = await owner.get(KvStore).put('k', 'v', { whileAlive: true });
    cutOff();
    await until(async () => (await kv.get('k')) === undefined, 'the deletion');
    network.heal();
    await until(async () => (await kv.get('k')) !== undefined, 'the key again');
    expect(await kv.history('k')).toMatchObject([
      { value: 'v' },
      { id: `${put.id}-expired-deleted`, expired: true },
      { id: put.id },
    ]);
    cutOff();
    await until(async () => (await kv.get('k')) === undefined, 'the second deletion');
  });

  it('are left to a pod that has put them meanwhile', async () => {
    const { owner, leader, cutOff } = roles();
    const kv = leader.get(KvStore);
    await owner.get(KvStore).put('k', 'v', { whileAlive: true });
    await owner.get(KvStore).put('l', 'v', { whileAlive: true });
    cutOff();
    await until(async () => (await kv.keys('')).length === 0, 'the deletions');
    await kv.put('k', 'of another');
    network.heal();
    await until(async () => (await kv.get('l')) !== undefined, 'the other key again');
    expect(await kv.get('k')).toMatchObject({ value: 'of another' });
    expect(await kv.history('k')).toHaveLength(3);
  });

  it('are kept for good by a later put without it, and refused together with other lifetimes', async () => {
    const { owner, leader, cutOff } = roles();
    const kv = leader.get(KvStore);
    await owner.get(KvStore).put('k', 'v', { whileAlive: true });
    await owner.get(KvStore).put('l', 'v', { whileAlive: true });
    await kv.put('k', 'kept');
    cutOff();
    await until(async () => (await kv.get('l')) === undefined, 'the deletion of the other key');
    expect(await kv.get('k')).toMatchObject({ value: 'kept' });
    for (const options of [{ ttlMs: 5_000 }, { append: false }]) {
      await expect(kv.put('k', 'v', { whileAlive: true, ...options })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining('put "k" has both'),
      });
    }
  });
});
