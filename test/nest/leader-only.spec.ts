import type { AddressInfo } from 'node:net';
import {
  BadRequestException,
  Body,
  ConflictException,
  Controller,
  Injectable,
  Logger,
  Param,
  ParseIntPipe,
  Post,
} from '@nestjs/common';
import { SetMetadata, UseGuards } from '@nestjs/common';
import type { CanActivate, ExecutionContext, INestApplication, INestApplicationContext } from '@nestjs/common';
import { NestFactory, Reflector } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeStrategy,
  LeaderCron,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  OnLeaderMessage,
} from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

/** Proves that the guards of a method run, with the metadata that `Reflector` finds on it. */
@Injectable()
class TagGuard implements CanActivate {
  static readonly seen: string[] = [];
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    const tag = this.reflector.get<string>('tag', context.getHandler());
    TagGuard.seen.push(`${context.getType()} ${tag}`);
    return tag !== 'forbidden';
  }
}

@Injectable()
class Base {
  constructor(protected readonly cluster: ClusterService) {}

  get address(): string {
    return this.cluster.self.address;
  }
}

@Injectable()
class Index extends Base {
  get size(): number {
    return 17;
  }

  @LeaderOnly()
  sync(a: number, b: number) {
    return { at: this.address, sum: a + b };
  }

  @LeaderOnly()
  async async(text: string) {
    return { at: this.address, text };
  }

  @LeaderOnly({ forward: true })
  async forwarded(a: number, b?: { deep: number[] }) {
    return { at: this.address, a, b };
  }

  @SetMetadata('tag', 'above')
  @LeaderOnly({ forward: true })
  @UseGuards(TagGuard)
  async guardedBelow() {
    return this.address;
  }

  @UseGuards(TagGuard)
  @LeaderOnly({ forward: true, name: 'a name of its own' })
  @SetMetadata('tag', 'forbidden')
  guardedAbove() {
    return 'ran';
  }

  @LeaderOnly({ forward: true })
  @OnLeaderMessage('also a handler')
  async both(data: unknown) {
    return { data };
  }
}

@Controller('items')
class Items extends Base {
  @Post(':id')
  @LeaderOnly({ forward: true })
  async create(@Body() item: { qty: number }, @Param('id', ParseIntPipe) id: number) {
    if (item.qty === 0) throw new BadRequestException('qty', { description: 'too few' });
    return { at: this.address, id, qty: item.qty };
  }

  @LeaderOnly()
  @Post(':id/local')
  local(@Param('id', ParseIntPipe) id: number) {
    return { at: this.address, id };
  }
}

describe('@LeaderOnly', () => {
  const pods = new Pods({ controllers: [Items], providers: [Index, TagGuard] });
  let http: INestApplication;
  let leader: INestApplicationContext;
  let leaderAddress: string;

  beforeAll(async () => {
    await pods.startThree();
    http = await NestFactory.create(pods.module(), { abortOnError: false, logger: false });
    await http.listen(0);
    await until(() => http.get(LeaderService).leader() !== undefined, 'the last pod knows the leader');
    leader = pods.leader;
    leaderAddress = leader.get(ClusterService).self.address;
  });
  afterAll(async () => {
    await Promise.all([pods.close(), http.close()]);
  });

  it('calls the method unchanged on the leader: this, arguments and result stay the same', async () => {
    expect(leader.get(Index).sync(1, 2)).toEqual({ at: leaderAddress, sum: 3 });
    expect(await leader.get(Index).async('x')).toEqual({ at: leaderAddress, text: 'x' });
    expect(leader.get(Index).size).toBe(17);
    expect([leader.get(Index).sync.name, leader.get(Index).sync.length]).toEqual(['sync', 2]);
  });

  it('names the leader in the refusal on other pods: a method throws, an asynchronous one rejects', async () => {
    const index = pods.followers[0]!.get(Index);
    const refusal = { code: 'NOT_LEADER', retryable: true, details: { leader: leaderAddress } };
    expect(() => index.sync(1, 2)).toThrow(expect.objectContaining(refusal));
    await expect(index.async('x')).rejects.toMatchObject(refusal);
  });

  it('forwards from every pod to the leader and returns its answer', async () => {
    for (const app of [leader, ...pods.followers]) {
      expect(await app.get(Index).forwarded(1, { deep: [2] })).toEqual({ at: leaderAddress, a: 1, b: { deep: [2] } });
      expect(await app.get(Index).forwarded(1)).toEqual({ at: leaderAddress, a: 1 });
    }
  });

  it('runs the guards of a forwarded method, written above or below, with its metadata', async () => {
    const index = pods.followers[0]!.get(Index);
    expect(await index.guardedBelow()).toBe(leaderAddress);
    await expect(index.guardedAbove()).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'Forbidden resource' });
    expect(TagGuard.seen).toEqual(['rpc above', 'rpc forbidden']);
  });

  it('is allowed on a message handler', async () => {
    const follower = pods.followers[0]!;
    expect(await follower.get(LeaderService).send('also a handler', [1])).toEqual({ data: [1] });
    expect(await follower.get(Index).both([1])).toEqual({ data: [1] });
  });

  it('forwards a route of a controller, and keeps the decorators of its parameters', async () => {
    const { port } = http.getHttpServer().address() as AddressInfo;
    const post = async (path: string, body: object) => {
      const answer = await fetch(`http://127.0.0.1:${port}/items/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return { status: answer.status, body: await answer.json() };
    };
    expect(await post('7', { qty: 3 })).toEqual({ status: 201, body: { at: leaderAddress, id: 7, qty: 3 } });
    expect(await post('7', { qty: 0 })).toMatchObject({ status: 400, body: { message: 'qty', error: 'too few' } });
    expect(await post('seven', { qty: 3 })).toMatchObject({ status: 400 });
    expect(await post('7/local', {})).toMatchObject({ status: 500 });
  });

  it('throws on an instance that Nest did not create', async () => {
    const index = new Index(leader.get(ClusterService));
    expect(() => index.sync(1, 2)).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS' }));
    await expect(index.forwarded(1)).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });
});

describe('an app that connects HedgeStrategy itself', () => {
  it('keeps the HttpExceptions of forwarded calls and of messages, and of their guards', async () => {
    @Injectable()
    class Refusing implements CanActivate {
      canActivate(): boolean {
        throw new BadRequestException('refused by a guard');
      }
    }
    @Controller('orders')
    class Orders {
      constructor(private readonly leader: LeaderService) {}
      @Post('forwarded')
      @LeaderOnly({ forward: true })
      async create() {
        throw new ConflictException('taken');
      }
      @OnLeaderMessage('message') message() {
        throw new ConflictException('taken');
      }
      @UseGuards(Refusing)
      @OnLeaderMessage('guarded')
      guarded() {}
      send(topic: string) {
        return this.leader.send(topic);
      }
    }
    const app = await NestFactory.create(new Pods({ controllers: [Orders] }).module(), {
      abortOnError: false,
      logger: false,
    });
    try {
      app.connectMicroservice({ strategy: app.get(HedgeStrategy) });
      await app.listen(0, '127.0.0.1');
      const { port } = app.getHttpServer().address() as AddressInfo;
      const answer = await fetch(`http://127.0.0.1:${port}/orders/forwarded`, { method: 'POST' });
      expect([answer.status, await answer.json()]).toMatchObject([409, { message: 'taken' }]);
      const orders = app.get(Orders);
      const conflict = { code: 'HANDLER_FAILED', details: { status: 409 } };
      await expect(orders.send('message')).rejects.toMatchObject(conflict);
      await expect(orders.send('guarded')).rejects.toMatchObject({ details: { status: 400 } });
    } finally {
      await app.close();
    }
  });
});

function refusal(message: string): unknown {
  return expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringContaining(message) });
}

function decorate(decorator: MethodDecorator, value: unknown = () => undefined): () => void {
  return () =>
    class Wrong {
      static {
        decorator(Wrong.prototype, 'method', { value } as PropertyDescriptor & { value: never });
      }
    };
}

/** Creates another class of the same name on each call. */
function twin() {
  @Injectable()
  class Twin {
    @LeaderOnly({ forward: true }) async run() {
      return 1;
    }
  }
  return Twin;
}

describe('an invalid decoration', () => {
  it.each([
    ['a getter', decorate(LeaderOnly(), null), 'Wrong.method cannot be @LeaderOnly'],
    ['a timeout of 0', decorate(LeaderOnly({ forward: true, timeoutMs: 0 })), 'timeoutMs'],
    ['a name without forward', decorate(LeaderOnly({ name: 'x' })), 'forward: true'],
    ['an invalid cron expression', decorate(LeaderCron('bad')), "Wrong.method is decorated wrongly. 'bad'"],
    ['an unknown time zone', decorate(LeaderCron('@daily', { timeZone: 'Nowhere/Else' })), 'not a time zone'],
    ['a short interval', decorate(LeaderInterval(10)), 'The interval is 10'],
    ['a name with a slash', decorate(LeaderInterval(1_000, { name: 'a/b' })), "'a/b'"],
    ['a grace of 0', decorate(LeaderInterval(1_000, { graceMs: 0 })), 'graceMs is 0'],
    ['a job that is not a method', decorate(LeaderInterval(1_000), 1), 'is no method'],
  ])('is refused: %s', (_, decorated, message) => {
    expect(decorated).toThrow(refusal(message));
  });

  it('fails the start: two classes of one name', async () => {
    await expect(new Pods({ providers: [twin(), twin()] }).start()).rejects.toEqual(
      refusal("@LeaderOnly of 'Twin.run' must be on one method"),
    );
  });
});
