import { Controller, Inject, Injectable, Logger, Scope, UseGuards, UsePipes, ValidationPipe } from '@nestjs/common';
import type { CanActivate, ExecutionContext, INestApplicationContext } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import { Ctx, Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { IsInt } from 'class-validator';
import {
  ClusterService,
  HedgeContext,
  KvStore,
  LeaderService,
  OnBroadcast,
  OnLeaderChange,
  OnLeaderMessage,
  OnMembersChange,
  WhileLeader,
} from 'nestjs-hedge';
import type { Leadership } from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

@Injectable()
class Prices {
  readonly unit = 3;
}

@Injectable()
class PriceGuard implements CanActivate {
  constructor(private readonly prices: Prices) {}
  canActivate(context: ExecutionContext): boolean {
    return this.prices.unit === 3 && context.switchToRpc().getContext<HedgeContext>().requestId !== '';
  }
}

class Order {
  @IsInt()
  qty!: number;
}

@UseGuards(PriceGuard)
@Controller()
class Orders {
  constructor(
    private readonly prices: Prices,
    private readonly cluster: ClusterService,
  ) {}

  @UsePipes(new ValidationPipe({ transform: true }))
  @OnLeaderMessage('price')
  price(@Payload() order: Order, @Ctx() context: HedgeContext) {
    return {
      total: order.qty * this.prices.unit,
      by: this.cluster.self.address,
      from: context.from.address,
      token: String(context.fencingToken),
    };
  }

  @OnLeaderMessage('hang')
  hang(@Ctx() context: HedgeContext) {
    return new Promise((_resolve, reject) => {
      context.signal.addEventListener('abort', () => reject(context.signal.reason as Error), { once: true });
    });
  }

  @OnLeaderMessage('nothing') nothing() {}
  @OnLeaderMessage('throw') throw() {
    throw new Error('out of stock');
  }
}

@Injectable({ scope: Scope.REQUEST })
class Cache {
  constructor(
    private readonly cluster: ClusterService,
    @Inject(REQUEST) private readonly request: { getData(): { n: number } },
  ) {}

  @OnBroadcast('flush')
  flush() {
    return { by: this.cluster.self.address, n: this.request.getData().n };
  }
}

@Injectable()
class Watch {
  readonly leaders: (string | undefined)[] = [];
  readonly views: number[] = [];
  readonly terms: { token: bigint; ended: boolean }[] = [];

  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  @OnLeaderChange() leaderChanged() {
    this.leaders.push(this.leader.leader()?.address);
  }

  @OnMembersChange() membersChanged() {
    this.views.push(this.cluster.members().length);
  }

  @WhileLeader() async lead({ signal, fencingToken }: Leadership) {
    const term = { token: fencingToken, ended: false };
    this.terms.push(term);
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    term.ended = true;
  }
}

const addressOf = (app: INestApplicationContext) => app.get(ClusterService).self.address;

describe('three Nest apps in one process', () => {
  const pods = new Pods({ controllers: [Orders], providers: [Prices, Cache, Watch] });
  beforeAll(() => pods.startThree(), 30_000);
  afterAll(() => pods.close(), 30_000);

  it('have one leader, and all know it', async () => {
    const leader = addressOf(pods.leader);
    await until(
      () => pods.apps.every((app) => app.get(LeaderService).leader()?.address === leader),
      'all pods know the leader',
    );
    expect(await pods.leader.get(LeaderService).confirmLeadership()).toBe(true);
    expect(await pods.followers[0]!.get(LeaderService).confirmLeadership()).toBe(false);
  });

  it('send to the leader from any of them, through guards and pipes', async () => {
    const token = String(pods.leader.get(LeaderService).fencingToken);
    for (const app of pods.apps) {
      expect(await app.get(LeaderService).send('price', { qty: 2 })).toEqual({
        total: 6,
        by: addressOf(pods.leader),
        from: addressOf(app),
        token,
      });
    }
  });

  it('receive the errors of handlers, and undefined for no result', async () => {
    const follower = pods.followers[0]!.get(LeaderService);
    await expect(follower.send('price', { qty: 'two' })).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      details: { status: 400, response: { message: ['qty must be an integer number'] } },
    });
    await expect(follower.send('throw', {})).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'out of stock' });
    const pod = addressOf(pods.leader);
    await expect(follower.send('unknown', {})).rejects.toMatchObject({
      code: 'NO_HANDLER',
      message: expect.stringContaining(`on pod ${pod} (the leader), which has `),
      details: { topic: 'unknown', pod },
    });
    await expect(follower.send('hang', {}, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await follower.send('nothing', {})).toBeUndefined();
  });

  it('keep their timers running while one of them sends to itself in a loop', async () => {
    const timer = new AbortController();
    setTimeout(() => timer.abort(), 1);
    for (let sends = 0; !timer.signal.aborted && sends < 20_000; sends++) {
      await pods.leader.get(LeaderService).send('nothing');
    }
    expect(timer.signal.aborted).toBe(true);
  });

  it('broadcast to all, also to request-scoped handlers', async () => {
    const replies = await pods.followers[0]!.get(ClusterService).broadcast<{ by: string; n: number }>('flush', {
      n: 5,
    });
    expect(new Set(replies.map(({ value }) => value?.by))).toEqual(new Set(pods.apps.map(addressOf)));
    expect(replies.every(({ value }) => value?.n === 5)).toBe(true);
  });

  it('put and get from any of them', async () => {
    for (const [i, app] of pods.apps.entries()) await app.get(KvStore).put('orders/1', `v${i}`);
    for (const app of pods.apps) expect((await app.get(KvStore).get('orders/1'))?.value).toBe('v2');
    expect(await pods.apps[0]!.get(KvStore).history('orders/1')).toHaveLength(3);
  });

  it('elect a new leader when one stops, and no send fails', async () => {
    const old = pods.leader;
    const rest = pods.followers;
    const outcomes: unknown[] = [];
    const load = new AbortController();
    const sending = rest.map(async (app) => {
      while (!load.signal.aborted) {
        const send = app.get(LeaderService).send<{ total: number }>('price', { qty: 1 });
        outcomes.push(await send.catch((error: unknown) => error));
        await new Promise(setImmediate);
      }
    });
    await until(() => outcomes.length > 20, 'load runs');
    const term = old.get(Watch).terms.at(-1);
    await old.close();
    expect(old.get(LeaderService).isLeader()).toBe(false);
    expect(term).toMatchObject({ ended: true });
    const after = outcomes.length;
    await until(() => rest.some((app) => app.get(LeaderService).isLeader()), 'another pod leads');
    await until(() => outcomes.length > after + 20, 'load goes on');
    load.abort();
    await Promise.all(sending);
    expect(outcomes.filter((outcome) => (outcome as { total?: number }).total !== 3)).toEqual([]);
    const next = rest.find((app) => app.get(LeaderService).isLeader())!;
    expect(next.get(Watch).terms.at(-1)!.token > term!.token).toBe(true);
    await until(() => rest.every((app) => app.get(ClusterService).members().length === 2), 'two members remain');
    expect(next.get(Watch).leaders).toContain(addressOf(next));
    expect(next.get(Watch).views).toEqual(expect.arrayContaining([3, 2]));
  }, 30_000);
});
