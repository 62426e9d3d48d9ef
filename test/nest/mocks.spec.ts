import { Injectable, Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it, jest } from '@jest/globals';
import { LeaderOnly, LeaderService, LockService, OnLeaderMessage, WithLock } from 'nestjs-hedge';
import { HedgeTestingModule } from 'nestjs-hedge/testing';

Logger.overrideLogger(false);

@Injectable()
class Index {
  @LeaderOnly() rebuild() {
    return 'rebuilt';
  }

  @LeaderOnly({ forward: true }) async forwarded(a: number) {
    return a;
  }

  @WithLock((name: string) => `index/${name}`)
  async locked(name: string) {
    return `locked ${name}`;
  }
}

async function indexWith(leader: object, locks: object = {}): Promise<Index> {
  const module = await Test.createTestingModule({
    providers: [Index, { provide: LeaderService, useValue: leader }, { provide: LockService, useValue: locks }],
  }).compile();
  return module.get(Index);
}

describe('a class with mocked services, without HedgeModule', () => {
  it('runs a @LeaderOnly method when the mock leads, and refuses it otherwise', async () => {
    expect((await indexWith({ isLeader: () => true })).rebuild()).toBe('rebuilt');
    const follower = await indexWith({ isLeader: () => false });
    expect(() => follower.rebuild()).toThrow(
      expect.objectContaining({ code: 'NOT_LEADER', details: { leader: null } }),
    );
  });

  it('forwards by the send method of the mock', async () => {
    const send = jest.fn(async (_topic: string, _args: unknown, _options: object) => 'sent');
    expect(await (await indexWith({ send })).forwarded(7)).toBe('sent');
    expect(send).toHaveBeenCalledWith(expect.stringContaining('Index.forwarded'), [7], expect.anything());
  });

  it('locks by the use method of the mock', async () => {
    const use = jest.fn((_name: string, _options: object, run: () => unknown) => run());
    expect(await (await indexWith({}, { use })).locked('a')).toBe('locked a');
    expect(use).toHaveBeenCalledWith('index/a', {}, expect.any(Function));
  });
});

describe('a class with handlers that a test overrides', () => {
  @Injectable()
  class Orders {
    @OnLeaderMessage('price') price() {
      return 3;
    }
  }
  class Cheap extends Orders {
    override price() {
      return super.price() - 1;
    }
    @OnLeaderMessage('free') free() {
      return 0;
    }
  }
  const builder = () => Test.createTestingModule({ imports: [HedgeTestingModule.forRoot()], providers: [Orders] });

  it('fails the start with advice for tests when the substitute has handlers', async () => {
    for (const override of [
      builder().overrideProvider(Orders).useValue(new Orders()),
      builder().overrideProvider(Orders).useClass(Cheap),
    ]) {
      const app = await override.compile();
      await expect(app.init()).rejects.toThrow('override what the class depends on');
      await app.close();
    }
  });

  it('is ignored when the substitute has no handlers', async () => {
    const app = await builder()
      .overrideProvider(Orders)
      .useValue({ price: () => 1 })
      .compile();
    await app.init();
    await expect(app.get(LeaderService).send('price')).rejects.toMatchObject({ code: 'NO_HANDLER' });
    await app.close();
  });
});
