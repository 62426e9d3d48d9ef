import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError, KvStore, type KvEntry, type KvWatch } from 'nestjs-hedge';
import { from, map, take, toArray } from 'rxjs';
import { Pods, until } from './apps.js';

let pods: Pods;

beforeEach(async () => {
  pods = new Pods();
  await pods.startThree();
});

afterEach(() => pods.close());

const storeOf = (app: { get(type: typeof KvStore): KvStore }): KvStore => app.get(KvStore);

function collect(watch: KvWatch): { readonly seen: KvEntry[]; readonly ended: Promise<unknown> } {
  const seen: KvEntry[] = [];
  const read = async (): Promise<void> => {
    for await (const entry of watch) seen.push(entry);
  };
  return { seen, ended: read().catch((error: unknown) => error) };
}

/** Adds one to a number. */
async function increment(kv: KvStore, key: string): Promise<void> {
  for (;;) {
    const entry = await kv.get(key);
    try {
      await kv.put(key, String(Number(entry?.value ?? 0) + 1), entry ? { ifVersion: entry } : { ifAbsent: true });
      return;
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') throw error;
    }
  }
}

describe('key/value on three pods', () => {
  it('K4 W1 count exactly, and show each count to watches on all pods, while the leader stops', async () => {
    const { leader, followers } = pods;
    const watches = pods.apps.map((app) => storeOf(app).watch('count'));
    await Promise.all(watches.map(({ ready }) => ready));
    const [ofLeader, ...ofFollowers] = [leader, ...followers].map((app) => collect(watches[pods.apps.indexOf(app)]!));
    const counting = followers.flatMap((app) =>
      Array.from({ length: 2 }, async () => {
        for (let n = 0; n < 10; n += 1) await increment(storeOf(app), 'count');
      }),
    );
    await until(() => ofLeader!.seen.length >= 5, 'the leader to see some counts');
    await leader.close();
    expect(await ofLeader!.ended).toMatchObject({ code: 'SHUTTING_DOWN' });
    await Promise.all(counting);
    const history = await storeOf(followers[0]!).history('count', { order: 'oldest-first' });
    expect(history.map(({ value }) => value)).toEqual(Array.from({ length: 40 }, (_, n) => String(n + 1)));
    for (const { seen } of ofFollowers) {
      await until(() => seen.length >= history.length, 'all counts');
      expect(seen).toEqual(history);
    }
    expect(ofLeader!.seen).toEqual(history.slice(0, ofLeader!.seen.length));
  });

  it('a watch is the source of an Observable', async () => {
    const kv = storeOf(pods.followers[0]!);
    const watch = kv.watch('a/');
    const values = from(watch).pipe(
      map(({ value }) => value),
      take(2),
      toArray(),
    );
    const seen = new Promise((resolve, reject) => void values.subscribe({ next: resolve, error: reject }));
    await watch.ready;
    for (const value of ['1', '2', '3']) await kv.put('a/1', value);
    expect(await seen).toEqual(['1', '2']);
  });

  it('a cache has the entries of its prefix, and follows puts and deletions of other pods', async () => {
    const [kv, other] = pods.followers.map(storeOf) as [KvStore, KvStore];
    await other.put('a/1', 'old');
    const first = await other.put('a/1', 'one');
    await other.put('a/2', 'two');
    await other.delete('a/2');
    await other.put('b', 'not in it');
    const cache = await kv.cached('a/');
    expect(cache.entries()).toEqual([first]);
    const third = await other.put('a/3', 'three');
    await other.delete('a/1');
    await until(() => cache.get('a/1') === undefined, 'the deletion');
    expect(cache.entries()).toEqual([third]);
    expect(cache.get('a/3')).toEqual(third);
    expect(cache.ageMs).toBeGreaterThanOrEqual(0);
    cache.close();
    await other.put('a/3', 'later');
    expect(cache.get('a/3')).toEqual(third);
    await expect(kv.cached('a/', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(kv.cached('__hedge/')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
