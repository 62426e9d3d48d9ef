import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HedgeError, type HedgeKv, type KvEntry, type KvStore } from 'nestjs-hedge';

export async function keep(kv: KvStore) {
  // #region kv
  const written = await kv.put('rates/eur', '1.08'); // durable when it resolves
  const latest = await kv.get('rates/eur'); // { key, value, id, leader, timestamp, version }
  const lastTen = await kv.history('rates/eur', { limit: 10 });
  const earlier = await kv.history('rates/eur', { before: written, limit: 1 });
  const keys = await kv.keys('rates/'); // the first 1,000; { limit: Infinity } for all
  await kv.put('settings', '{}', { append: false }); // one row, overwritten
  await kv.delete('rates/eur'); // get gives undefined; history shows it
  // #endregion
  return { latest, lastTen, earlier, keys };
}

export async function takeOne(kv: KvStore, key: string) {
  // #region compare-and-set
  for (;;) {
    const entry = await kv.get(key);
    const left = Number(entry?.value ?? 10) - 1;
    if (left < 0) return false;
    try {
      await kv.put(key, String(left), entry ? { ifVersion: entry } : { ifAbsent: true });
      return true;
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') throw error;
      // Another caller was faster. error.details.entry is the version that is there now.
    }
  }
  // #endregion
}

export async function transfer(kv: KvStore, from: string, to: string, amount: number) {
  // #region transaction
  const [source, target, rules] = await kv.getMany([from, to, 'rules']);
  if (source === undefined || target === undefined || rules === undefined) return;
  await kv.transaction([
    { check: 'rules', ifVersion: rules }, // a condition without a write
    { put: from, value: String(Number(source.value) - amount), ifVersion: source },
    { put: to, value: String(Number(target.value) + amount), ifVersion: target },
    { delete: `pending/${from}` },
  ]); // all in one commit; or CONFLICT, and nothing is written
  // #endregion
}

export async function expire(kv: KvStore, signal: AbortSignal) {
  // #region ttl
  await kv.put('sessions/3', 'ann', { ttlMs: 60_000 }); // deleted after a minute
  await kv.put('sessions/3', 'ann', { ttlMs: 60_000 }); // unless it is put again
  await kv.transaction([{ put: 'carts/3', value: '[]', ttlMs: 3_600_000 }, { delete: 'visitors/3' }]);
  for await (const { key, expired } of kv.watch('sessions/', { signal })) {
    if (expired) console.log(`${key} was not renewed`); // an expired key is a deleted one, with expired: true
  }
  // #endregion
}

export async function announce(kv: KvStore, address: string) {
  // #region alive
  await kv.put(`printers/${address}`, 'ready', { whileAlive: true }); // deleted when this pod has left
  const cache = await kv.cached('printers/');
  const printers = cache.entries(); // on any pod: the printers that are there
  // #endregion
  return printers;
}

export async function follow(kv: KvStore, signal: AbortSignal, last: KvEntry, apply: (entry: KvEntry) => void) {
  // #region watch
  const one = kv.watch({ key: 'settings' }, { signal }); // one key
  const rest = kv.watch('rates/', { from: last, signal }); // what came after that entry, as after a restart
  for await (const entry of kv.watch('rates/', { signal })) {
    // { key, value, version, … }; a deletion has deleted: true
    apply(entry);
  }
  // #endregion
  return [one, rest];
}

export function oldVersions(): HedgeKv {
  // #region retention
  const options = {
    kv: {
      retention: [
        { prefix: 'rates/', versions: 100, tombstonesDays: 7 }, // the last 100 versions of each key
        { prefix: 'sessions/', versions: 1, tombstonesDays: 1 }, // keys with a time to live
        { prefix: '', days: 30, tombstonesDays: 30 }, // all other keys: replaced versions and deletions of 30 days ago
      ],
    },
  };
  // #endregion
  return options.kv;
}

export async function readMany(kv: KvStore) {
  // #region many
  const [eur, usd] = await kv.getMany(['rates/eur', 'rates/usd']);
  const rates = await kv.entries('rates/', { limit: 100 });
  // #endregion
  return { eur, usd, rates };
}

// #region watch-service
@Injectable()
export class RatesWatcher implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #stop = new AbortController();
  readonly #logger = new Logger(RatesWatcher.name);

  constructor(private readonly kv: KvStore) {}

  onApplicationBootstrap(): void {
    void this.#follow();
  }

  onModuleDestroy(): void {
    this.#stop.abort();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const { key, value } of this.kv.watch('rates/', { signal })) this.#logger.log(`${key}: ${value}`);
    } catch (error) {
      if (!signal.aborted) this.#logger.error(error); // COMPACTED, or the database did not answer at the beginning
    }
  }
}
// #endregion
