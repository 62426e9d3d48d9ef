import { afterEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClusterService, HedgeError, SpillStore } from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';
import { HedgeTestingModule, MemoryNetwork } from 'nestjs-hedge/testing';
import { errorOf, readAll, records, same, until } from './pods.js';

describe('SpillStore in Nest', () => {
  const apps: TestingModule[] = [];
  const network = new MemoryNetwork();
  const database = memoryDatabase();
  const start = async (address: string, spill: object): Promise<TestingModule> => {
    const module = HedgeTestingModule.forRoot({ network, backend: memory({ database }), address, spill });
    const app = await Test.createTestingModule({ imports: [module] }).compile();
    apps.push(app);
    await app.init();
    return app;
  };

  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });

  it('P1: stores records on the pods of a group, within the RAM and disk that each offers by its options', async () => {
    const a = await start('a:1', { memory: '4MB' });
    const b = await start('b:1', { memory: '32MB' });
    await until(() => [a, b].every((app) => app.get(ClusterService).members().length === 2));
    const written = records(8_000, 1_000);
    const read = await a.get(SpillStore).use('s', {}, async (store) => {
      await store.writeBatch(written);
      const { shares } = await store.close();
      expect(shares.map(({ member }) => member.address).sort()).toEqual(['a:1', 'b:1']);
      return readAll(store);
    });
    expect(same(read, written)).toBe(true);
  });

  it('fails the start with invalid sizes, and names the fix', async () => {
    const error = await errorOf(() => start('a:1', { memory: '1MB', disk: 'much' }));
    expect(error).toBeInstanceOf(HedgeError);
    expect(error.message).toContain("spill.memory is '1MB'; give bytes, or a text such as '512MB', of at least 4 MB.");
    expect(error.message).toContain("spill.disk is 'much'; give bytes, or a text such as '512MB'.");
  });

  it('drops its spilled data when the pod stops', async () => {
    const app = await start('a:1', {});
    const spill = app.get(SpillStore);
    await spill.create('s');
    await app.close();
    expect(spill.list()).toEqual([]);
    expect(await errorOf(() => spill.create('t'))).toMatchObject({ code: 'SHUTTING_DOWN' });
  });
});
