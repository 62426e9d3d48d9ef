import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { KvEntry } from 'nestjs-hedge';
import { nestjsHedge } from '../cli/command-line.js';
import { agree, eventually, type Pod, Pods } from './pods.js';

const SECOND = 1 / 86_400;
const RULES = [
  { prefix: 'few/', versions: 2 },
  { prefix: 'young/', days: SECOND },
  { prefix: 'gone/', versions: 100, tombstonesDays: SECOND },
];
/** As the defaults, but each second, and for versions from three seconds on. So few rows that a sweep takes many calls. */
const LIMITS = { everyMs: 1_000, leastAgeMs: 3_000, keys: 2, rows: 3, pauseMs: 5 };

const KEYS = ['few/a', 'few/b', 'young/a', 'gone/a', 'all/a'];
const VERSIONS = Array.from({ length: 10 }, (_, n) => String(n + 1));

describe('kv.retention of several processes', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('K1 W1: deletes by prefix and never the newest version, also after a kill of the leader, and cuts late watches short', async () => {
    const [leader, follower, other] = await pods.startGroup(3, { retention: { rules: RULES, limits: LIMITS } });
    await other!.call('watch', 'few/');
    const written: KvEntry[] = [];
    for (const value of VERSIONS) for (const key of KEYS) written.push(await put(follower!, key, value));
    await follower!.call('delete', 'gone/a', 10_000);
    await eventually('the first term deletes', () => left(follower!, { few: ['9', '10'] }));
    // It has counted the deletions of a sweep when the next one has ended.
    expect(await follower!.call('compact', 30_000)).toBe(0);
    expect(await figures(leader!)).toEqual({ deleted: 2 * 8 + 9 + 11, failed: 0, swept: true });
    expect(await figures(follower!)).toEqual({ deleted: 0, failed: 0, swept: false });

    const [first] = written;
    const late = await follower!.call('watchFrom', 'few/', placeOf(first!), 1);
    expect(late).toEqual({ seen: [], error: { code: 'COMPACTED', from: expect.anything() } });
    // From there on, all versions are left.
    const resumed = await follower!.call('watchFrom', 'few/', late.error!.from!, 4);
    expect(resumed.error).toBeUndefined();
    expect(resumed.seen).toEqual(shown(written.filter(({ key }) => key.startsWith('few/')).slice(-4)));

    const during = ['11', '12', '13', '14'];
    const writing = (async () => {
      for (const value of during) for (const key of KEYS) written.push(await put(follower!, key, value));
    })();
    await leader!.kill();
    await writing;
    const [next, last] = await agree([follower!, other!]);
    await eventually('the next term deletes', () => left(last!, { few: ['13', '14'], gone: during }));
    expect(await follower!.call('compact', 30_000)).toBe(0);
    expect((await figures(next!)).deleted).toBeGreaterThan(0);

    const few = shown(written.filter(({ key }) => key.startsWith('few/')));
    // A watch that keeps up sees each version once, whatever is deleted behind it.
    await eventually('the watch shows all', async () => {
      const { length } = await other!.call('watched');
      return length >= few.length ? true : undefined;
    });
    expect(await other!.call('watched')).toEqual(few);
  }, 120_000);

  it('nestjs-hedge kv compact makes a leader delete at once, and prints the number of deleted versions', async () => {
    // Nothing is deleted without the command.
    const limits = { ...LIMITS, everyMs: 3_600_000, leastAgeMs: 500 };
    const [leader, ...followers] = await pods.startGroup(3, { retention: { rules: RULES, limits } });
    const compact = () => nestjsHedge('--group', 'e2e', '--file', pods.file, 'kv', 'compact');
    for (const value of VERSIONS) await put(leader!, 'few/a', value);
    expect(await compact()).toEqual({ code: 0, out: 'deleted 0 old versions\n', err: '' });
    await leader!.stop();
    const [next] = await agree(followers);
    // The next leader deletes what it found at its election when that is old enough.
    const compacted = await eventually('a deletion', async () => {
      const ended = await compact();
      return ended.out === 'deleted 0 old versions\n' ? undefined : ended;
    });
    expect(compacted).toEqual({ code: 0, out: 'deleted 8 old versions\n', err: '' });
    expect(await next!.call('history', 'few/a')).toEqual(['9', '10']);
  }, 60_000);
});

/** Whether retention has left these versions, and the others as the rules say. The newest ones must always be there. */
async function left(pod: Pod, { few, gone = [] }: { few: string[]; gone?: string[] }): Promise<true | undefined> {
  const newest = few.at(-1)!;
  const [a, b, young, buried, all] = await Promise.all(KEYS.map((key) => pod.call('history', key)));
  for (const values of [a, b, young, all]) expect(values!.at(-1)).toBe(newest);
  expect(all).toHaveLength(Number(newest));
  const found = JSON.stringify([a, b, young, buried]);
  return found === JSON.stringify([few, few, [newest], gone]) ? true : undefined;
}

async function put(pod: Pod, key: string, value: string): Promise<KvEntry> {
  return (await pod.call('put', key, value, { timeoutMs: 30_000 })) as KvEntry;
}

async function figures(pod: Pod) {
  const metrics = await pod.call('metrics');
  const count = (name: string, outcome: string): number =>
    Object.entries(metrics)
      .filter(([sample]) => sample.startsWith(name) && sample.includes(outcome))
      .reduce((sum, [, value]) => sum + value, 0);
  const sweeps = 'hedge_kv_retention_sweep_duration_seconds_count';
  const swept = count(sweeps, 'outcome="OK"');
  return {
    deleted: count('hedge_kv_retention_deleted_total', ''),
    failed: count(sweeps, '') - swept,
    swept: swept > 0,
  };
}

/** As the calls of the pods show versions. */
function shown(entries: readonly KvEntry[]): string[] {
  return entries.map(({ key, version, id }) => `${key} ${version} ${id}`);
}

function placeOf({ key, version, id }: KvEntry): { key: string; version: string; id: string } {
  return { key, version: String(version), id };
}
