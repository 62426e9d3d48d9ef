import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { MB, records, SpillPods, until } from './pods.js';
import type { Spill } from '../../libs/hedge/src/spill/service/spill.js';

async function readAll(store: Spill, range = {}): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for await (const record of store.read(range)) all.push(record);
  return all;
}

describe('SpillStore', () => {
  let group: SpillPods;

  beforeEach(() => {
    group = new SpillPods();
  });
  afterEach(() => group.close());

  it('P1: keeps what was written, in its order, on one pod', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    const written = records(5_000);
    for (const record of written) await store.write(record);
    const manifest = await store.close();
    expect(manifest).toMatchObject({ name: 's', records: 5_000 });
    expect(Buffer.concat(await readAll(store)).equals(Buffer.concat(written))).toBe(true);
    expect(await readAll(store, { from: 1_234, to: 1_236 })).toEqual(written.slice(1_234, 1_236));
  });

  it('P1, P2: goes on to the disk and to other pods when its own memory is full', async () => {
    const a = await group.start('a', { disk: 2 * MB });
    const b = await group.start('b', { memory: 16 * MB });
    const c = await group.start('c', { memory: 16 * MB });
    const store = await a.store.create('s');
    const written = records(16_000, 1_000);
    for (const record of written) await store.write(record);
    const { shares } = await store.close();
    expect(shares.map(({ member, tier }) => `${member.address} ${tier}`).sort()).toEqual([
      'a:1 disk',
      'a:1 memory',
      'b:1 memory',
      'c:1 memory',
    ]);
    expect(a.used.memory).toBeLessThanOrEqual(4 * MB);
    expect(a.used.disk).toBeLessThanOrEqual(2 * MB);
    expect((await readAll(store)).every((record, i) => record.equals(written[i] as Buffer))).toBe(true);
    await store.drop();
    await until(() => b.used.memory === 0 && c.used.memory === 0 && a.used.disk === 0);
  });
});
