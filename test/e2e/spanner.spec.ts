import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { linearize, readOf, writeOf, type Operation } from '../kv/linearizability.js';
import { INDEX_DDL, openEmulator, TABLE_DDL } from '../spanner/target.js';
import { agree, eventually, type Pod, Pods } from './pods.js';

const KEYS = ['a', 'b', 'c'];
const CALLERS = 6;
/** Calls of each caller, before the kill and after it. */
const CALLS = 20;

describe('pods on a Spanner that fails', () => {
  let target: Awaited<ReturnType<typeof openEmulator>>;
  let pods: Pods;

  beforeEach(async () => {
    target = await openEmulator({ ddl: [...TABLE_DDL, INDEX_DDL] });
    pods = await Pods.make();
  });

  afterEach(async () => {
    await pods.close();
    await target.close();
  });

  it('L2 K1: have no leader during a database outage, and continue with all data after it', async () => {
    const spanner = { database: target.database, emulator: target.address };
    const group = await pods.startGroup(2, { spanner });
    const before = (await group[0]!.state()).token!;
    await group[1]!.call('put', 'k', 'before');

    target.emulator.faults.pause();
    await eventually('the end of leadership', async () => {
      const states = await Promise.all(group.map((pod) => pod.state()));
      return states.some(({ isLeader }) => isLeader) ? undefined : states;
    });
    for (const pod of group) {
      const put = pod.call('put', 'k', 'meanwhile', { timeoutMs: 500 });
      await expect(put).rejects.toMatchObject({ code: expect.stringMatching(/NO_LEADER|DEADLINE_EXCEEDED/) });
      await expect(pod.call('get', 'k')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    }

    target.emulator.faults.resume();
    const [leader] = await agree(group);
    expect((await leader!.state()).token).toBeGreaterThan(before);
    for (const pod of group) expect(await pod.call('get', 'k')).toBe('before');
    await group[1]!.call('put', 'k', 'after');
    for (const pod of group) expect(await pod.call('get', 'k')).toBe('after');
  }, 60_000);

  it('K1 K2: serve puts and gets that are linearizable for each key, also when the leader is killed', async () => {
    const spanner = { database: target.database, emulator: target.address };
    const [leader, ...others] = await pods.startGroup(3, { spanner });
    target.emulator.faults.set({
      abortRate: 0.05,
      sessionLossRate: 0.005,
      latencyMs: [0, 5],
      equalCommitTimestamps: true,
      rules: [
        { method: '*', code: 'UNAVAILABLE', when: 'before', rate: 0.02 },
        { method: 'Commit', code: 'UNAVAILABLE', when: 'after', rate: 0.05 },
      ],
    });

    const history = new Map<string, Operation[]>(KEYS.map((key) => [key, []]));
    const callAll = (phase: string) =>
      Promise.all(Array.from({ length: CALLERS }, (_, i) => keepCalling(others[i % 2]!, `${phase}/${i}`, history)));
    await callAll('before');
    const during = callAll('during');
    await leader!.kill();
    await during;
    await agree(others);

    const puts = [...history.values()].flat().filter(({ wrote }) => Object.keys(wrote).length > 0);
    expect(puts.filter(({ returned }) => returned < Infinity).length).toBeGreaterThan(puts.length / 2);
    for (const [key, operations] of history) {
      expect({ key, explained: linearize(operations) !== undefined }).toEqual({ key, explained: true });
    }
  }, 90_000);
});

/** Puts and gets alternately, each key in turn, and records the times of each call and its return. */
async function keepCalling(pod: Pod, name: string, history: ReadonlyMap<string, Operation[]>): Promise<void> {
  for (let n = 0; n < CALLS; n += 1) {
    const key = KEYS[(n >> 1) % KEYS.length]!;
    const operations = history.get(key)!;
    const called = performance.now();
    if (n % 2 === 0) {
      const value = `${name}/${n}`;
      const done = await pod.call('put', key, value).then(
        () => true,
        () => false,
      );
      // A put that failed may still happen.
      operations.push(writeOf({ [key]: value }, called, done ? performance.now() : Infinity));
    } else {
      const found = await pod.call('get', key).then(
        (value) => ({ value }),
        () => undefined,
      );
      if (found) operations.push(readOf({ [key]: found.value }, called, performance.now()));
    }
  }
}
