import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { KvStore } from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';
import { HedgeTestingModule, MemoryNetwork } from 'nestjs-hedge/testing';
import { InventoryService } from '../../examples/etcd3/inventory.service.js';

let pods: TestingModule[];
let inventories: InventoryService[];

beforeEach(async () => {
  const network = new MemoryNetwork();
  const database = memoryDatabase();
  pods = [];
  for (const address of ['a:1', 'b:1']) {
    const imports = [HedgeTestingModule.forRoot({ network, backend: memory({ database }), address })];
    const pod = await Test.createTestingModule({ imports, providers: [InventoryService] }).compile();
    pods.push(pod);
    await pod.init();
  }
  inventories = pods.map((pod) => pod.get(InventoryService));
});

afterEach(async () => {
  for (const pod of pods) await pod.close();
});

describe('the inventory of the example', () => {
  it('sells no item twice, whichever pods reserve it at once', async () => {
    const [one, two] = inventories;
    await one!.set('lamp', 5);
    const reserved = await Promise.all(
      Array.from({ length: 12 }, (_, order) => inventories[order % 2]!.reserve(String(order), 'lamp', 1)),
    );
    expect(reserved.filter(Boolean)).toHaveLength(5);
    expect(await two!.count('lamp')).toBe(0);
    expect(await two!.counts()).toEqual({ 'stock/lamp': '0' });
    expect(await pods[0]!.get(KvStore).keys('orders/')).toHaveLength(5);
  });

  it('reserves an order once, also when it is repeated', async () => {
    const [one, two] = inventories;
    await one!.set('lamp', 5);
    expect(await one!.reserve('17', 'lamp', 2)).toBe(true);
    expect(await two!.reserve('17', 'lamp', 2)).toBe(true);
    expect(await two!.count('lamp')).toBe(3);
    expect(await two!.reserve('18', 'chair', 1)).toBe(false);
  });

  it('lists a station until its pod stops, and holds an item beyond', async () => {
    const [one, two] = inventories;
    await two!.open('north', 'b:1');
    await two!.hold('lamp', 'ann');
    const kv = pods[0]!.get(KvStore);
    expect(await kv.keys('stations/')).toEqual(['stations/north']);
    await one!.open('south', 'a:1');
    await pods.pop()!.close();
    expect(await kv.keys('stations/')).toEqual(['stations/south']);
    expect(await kv.get('holds/lamp')).toMatchObject({ value: 'ann' });
  });

  it('follows the orders of all pods, and their cancellations', async () => {
    const [one, two] = inventories;
    await one!.set('lamp', 5);
    const controller = new AbortController();
    const seen: unknown[] = [];
    const following = two!.follow((...change) => {
      seen.push(change);
      if (seen.length === 3) controller.abort();
    }, controller.signal);
    const ended = expect(following).rejects.toMatchObject({ code: 'CANCELLED' });
    await pods[1]!.get(KvStore).watch('orders/').ready;
    await one!.reserve('1', 'lamp', 2);
    await two!.reserve('2', 'lamp', 1);
    await one!.cancel('1');
    await ended;
    expect(seen).toEqual([
      ['1', 2],
      ['2', 1],
      ['1', undefined],
    ]);
  });
});
