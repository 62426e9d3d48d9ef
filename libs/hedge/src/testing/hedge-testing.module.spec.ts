import { Controller, Injectable, Logger, UseGuards } from '@nestjs/common';
import type { CanActivate } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import { filter } from 'rxjs/operators';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { ClusterService } from '../membership/cluster.service.js';
import { KvStore } from '../kv/kv.store.js';
import { LeaderService } from '../election/leader.service.js';
import { OnBroadcast, OnLeaderMessage } from '../nest/decorators/decorators.js';
import { HedgeTestingModule } from './hedge-testing.module.js';
import type { HedgeTestingOptions } from './hedge-testing.module.js';
import { MemoryNetwork } from './memory-transport.js';

Logger.overrideLogger(false);

@Injectable()
class Deny implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Controller()
class Orders {
  @OnLeaderMessage('price') price(@Payload() order: { qty: number }) {
    return { total: order.qty * 3 };
  }
  @UseGuards(Deny) @OnLeaderMessage('denied') denied() {}
  @OnBroadcast('flush') flush() {
    return 'flushed';
  }
}

const open: TestingModule[] = [];

async function start(options?: HedgeTestingOptions): Promise<TestingModule> {
  const imports = [HedgeTestingModule.forRoot(options)];
  const app = await Test.createTestingModule({ imports, controllers: [Orders] }).compile();
  open.push(app);
  return app.init();
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

describe('HedgeTestingModule', () => {
  it('leads at once, and serves handlers and the log', async () => {
    const app = await start();
    expect(app.get(LeaderService).isLeader()).toBe(true);
    expect(await app.get(LeaderService).send('price', { qty: 2 })).toEqual({ total: 6 });
    await expect(app.get(LeaderService).send('denied')).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
    expect(await app.get(ClusterService).broadcast('flush')).toMatchObject([{ value: 'flushed' }]);
    await app.get(KvStore).put('k', 'v');
    expect((await app.get(KvStore).get('k'))?.value).toBe('v');
  });

  it('creates groups that are independent of each other', async () => {
    const [a, b] = [await start(), await start()];
    await a.get(KvStore).put('k', 'v');
    expect(await b.get(KvStore).get('k')).toBeUndefined();
    expect(b.get(LeaderService).isLeader()).toBe(true);
  });

  it('creates a group of several apps on one network and database', async () => {
    const shared = { network: new MemoryNetwork(), backend: memory({ database: memoryDatabase() }) };
    const a = await start({ ...shared, address: 'a:1' });
    const b = await start({ ...shared, address: 'b:1' });
    expect(b.get(LeaderService).isLeader()).toBe(false);
    expect(await b.get(LeaderService).send('price', { qty: 1 })).toEqual({ total: 3 });
    await a.close();
    await firstValueFrom(b.get(LeaderService).changes$.pipe(filter((leader) => leader?.address === 'b:1')));
    expect(await b.get(LeaderService).send('price', { qty: 1 })).toEqual({ total: 3 });
  });
});
