import type { KvStore } from 'nestjs-hedge';

export async function keep(kv: KvStore) {
  // #region kv
  const written = await kv.put('rates/eur', '1.08'); // durable when it resolves
  const latest = await kv.get('rates/eur'); // { key, value, id, leader, timestamp, version }
  const lastTen = await kv.history('rates/eur', { limit: 10 });
  const earlier = await kv.history('rates/eur', { before: written, limit: 1 });
  const keys = await kv.keys('rates/');
  await kv.put('settings', '{}', { append: false }); // one row, overwritten
  await kv.delete('rates/eur'); // get gives undefined; history shows it
  // #endregion
  return { latest, lastTen, earlier, keys };
}
