import { hostname } from 'node:os';
import { Controller, Inject, Injectable, Logger, Scope, SetMetadata } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { HedgeError, LeaderService, LockService, OnLeaderMessage, WithLock } from 'nestjs-hedge';
import type { Lock } from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

/** State that all pods of this process share. It shows whether two methods run at once. */
const floor = { running: 0, most: 0 };

async function work(): Promise<void> {
  floor.running += 1;
  floor.most = Math.max(floor.most, floor.running);
  await new Promise((resolve) => setTimeout(resolve, 2));
  floor.running -= 1;
}

function locks(app: INestApplicationContext): LockService {
  return app.get(LockService);
}

class Base {
  @WithLock('counted')
  async count(by: number): Promise<number> {
    await work();
    return by + 1;
  }
}

@Injectable()
class Orders extends Base {
  @Inject('LABEL') readonly label!: string;

  @WithLock((order: { id: string }) => `orders/${order.id}`, { timeoutMs: 0 })
  async ship(order: { id: string }, note?: string): Promise<string> {
    await work();
    return `${this.label} ${order.id} ${note ?? ''}`;
  }

  @WithLock('broken')
  broken(): Promise<never> {
    throw new Error('at once');
  }

  @SetMetadata('above', 1)
  @WithLock('dressed')
  @SetMetadata('below', 2)
  async dressed(_one: string, _two: string): Promise<void> {}

  @WithLock(() => '')
  async nameless(): Promise<void> {}
}

@Injectable({ scope: Scope.TRANSIENT })
class Passing {
  @WithLock('passing')
  async pass(): Promise<boolean> {
    return true;
  }
}

@Controller()
class Handlers {
  @OnLeaderMessage('locked')
  @WithLock('handler')
  async handle(@Payload() data: { n: number }): Promise<number> {
    await work();
    return data.n + 1;
  }
}

const LABEL = { provide: 'LABEL', useValue: 'shipped' };

describe('named locks in three apps of one process', () => {
  const pods = new Pods({ providers: [Orders, Passing, LABEL], controllers: [Handlers] });

  beforeAll(async () => {
    await pods.startThree();
  });
  afterAll(() => pods.close());

  it('L1: run one method at a time, with rising tokens', async () => {
    floor.most = 0;
    const tokens: bigint[] = [];
    const uses = pods.apps.flatMap((app) =>
      Array.from({ length: 4 }, () =>
        locks(app).use('one', async ({ fencingToken }) => {
          tokens.push(fencingToken);
          await work();
        }),
      ),
    );
    await Promise.all(uses);
    expect(floor.most).toBe(1);
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => Number(a - b)));
    expect(tokens).toHaveLength(12);
  });

  it('pass from a follower that releases one to a follower that waits', async () => {
    const [one, two] = pods.followers;
    const held = await locks(one!).acquire('passed on');
    const waiting = locks(two!).acquire('passed on');
    expect((await locks(two!).holder('passed on'))?.expiresInMs).toBeGreaterThan(0);
    await held.release();
    const next = await waiting;
    expect(next.fencingToken).toBeGreaterThan(held.fencingToken);
    await next.release();
    expect(await locks(one!).holder('passed on')).toBeUndefined();
  });

  it('@WithLock runs the methods of all pods one at a time, also inherited methods and handlers', async () => {
    floor.most = 0;
    const counts = pods.apps.flatMap((app) => [1, 2].map((by) => app.get(Orders).count(by)));
    expect(await Promise.all(counts)).toEqual([2, 3, 2, 3, 2, 3]);
    const sends = pods.apps.map((app) => app.get(LeaderService).send<number>('locked', { n: 1 }));
    expect(await Promise.all(sends)).toEqual([2, 2, 2]);
    expect(floor.most).toBe(1);
  });

  it('@WithLock computes the name from the arguments, keeps `this`, and stops waiting at its timeout', async () => {
    const [one, two] = pods.apps.map((app) => app.get(Orders));
    await expect(one!.ship({ id: 'x' }, 'today')).resolves.toBe('shipped x today');
    const held = await locks(pods.apps[0]!).acquire('orders/y');
    await expect(two!.ship({ id: 'y' })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', retryable: true });
    await expect(two!.ship({ id: 'z' })).resolves.toBe('shipped z ');
    await held.release();
  });

  it('@WithLock releases the lock when the method throws synchronously', async () => {
    const [one, two] = pods.apps.map((app) => app.get(Orders));
    await expect(one!.broken()).rejects.toThrow('at once');
    await expect(two!.broken()).rejects.toThrow('at once');
  });

  it('@WithLock keeps the metadata of other decorators on the method', () => {
    const method = Object.getOwnPropertyDescriptor(Orders.prototype, 'dressed')?.value as {
      name: string;
      length: number;
    };
    expect(Reflect.getMetadata('above', method)).toBe(1);
    expect(Reflect.getMetadata('below', method)).toBe(2);
    expect([method.name, method.length]).toEqual(['dressed', 2]);
  });

  it('@WithLock works on request-scoped and transient providers', async () => {
    const passing = await Promise.all(pods.apps.map((app) => app.resolve(Passing)));
    expect(await Promise.all(passing.map((one) => one.pass()))).toEqual([true, true, true]);
  });

  it('@WithLock refuses an invalid name, and an object that Nest did not create', async () => {
    await expect(pods.apps[0]!.get(Orders).nameless()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(new Passing().pass()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    expect(() => {
      class Wrong {
        @WithLock('__hedge/x')
        async run(): Promise<void> {}
      }
      return Wrong;
    }).toThrow(HedgeError);
  });

  it('are available to a client, under a name of its own', async () => {
    const client = await pods.start({ mode: 'client' });
    const held = await locks(client).acquire('by a client');
    expect((await locks(pods.apps[0]!).holder('by a client'))?.member.address).toBe(`${hostname()}-${process.pid}`);
    expect(await locks(pods.apps[0]!).tryAcquire('by a client')).toBeUndefined();
    await client.close();
    expect(held.isValid()).toBe(false);
    expect(await locks(pods.apps[0]!).tryAcquire('by a client')).toBeDefined();
  });

  it('on a pod that stops refuse new acquisitions, and are released when the pod closes', async () => {
    let stopping: { readonly refused: unknown; readonly valid: boolean } | undefined;
    const held: Lock[] = [];
    @Injectable()
    class Late {
      constructor(private readonly own: LockService) {}
      async beforeApplicationShutdown(): Promise<void> {
        const refused = await this.own.acquire('late').catch((error: unknown) => error);
        stopping = { refused, valid: held[0]!.isValid() };
      }
    }
    const other = new Pods({ providers: [Late] }, { group: 'stopping' });
    try {
      const app = await other.start();
      const next = await other.start();
      held.push(await locks(app).acquire('kept'));
      const waiting = locks(next).acquire('kept', { timeoutMs: Infinity });
      await app.close();
      expect(stopping).toMatchObject({ refused: { code: 'SHUTTING_DOWN' }, valid: true });
      expect(held[0]!.signal.reason).toMatchObject({ code: 'SHUTTING_DOWN' });
      held.push(await waiting);
      expect(held[1]!.fencingToken).toBeGreaterThan(held[0]!.fencingToken);
      await until(() => next.get(LeaderService).isLeader(), 'the pod that is left leads');
      expect(held[1]!.isValid()).toBe(true);
    } finally {
      await other.close();
    }
  });

  it('are unavailable in a module that is off', async () => {
    const app = await pods.start({ mode: 'off' });
    await expect(locks(app).acquire('one')).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });
});
