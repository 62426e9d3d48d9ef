import {
  BadRequestException,
  Catch,
  Controller,
  Inject,
  Injectable,
  Logger,
  Module,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import type {
  CallHandler,
  CanActivate,
  ExceptionFilter,
  ExecutionContext,
  INestApplicationContext,
  NestInterceptor,
  Provider,
  Type,
} from '@nestjs/common';
import { DiscoveryModule, REQUEST } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, RpcException, Transport } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from '@jest/globals';
import { IsInt } from 'class-validator';
import { EMPTY, NEVER, map, of, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeError } from '../common/errors.js';
import type { IncomingRequest } from '../messaging/message.js';
import { PayloadCodec } from '../messaging/serializer.js';
import { RequestKind } from '../transport/wire/hedge/v1/link.js';
import { Canary, CanaryGuard, CanaryPerch } from './canary.js';
import { HedgeContext } from './context.js';
import { OnBroadcast, OnLeaderChange, OnLeaderMessage } from './decorators.js';
import { HandlerDiscovery } from './discovery.js';
import { HandlerDispatch } from './dispatch.js';
import type { HandlerKind } from './handler-metadata.js';
import type { HandlerEnhancers } from './options.js';
import { HedgeStrategy } from './strategy.js';
import { HandlerWiring } from './wiring.js';

const codec = new PayloadCodec();

@Module({
  imports: [DiscoveryModule],
  providers: [HedgeStrategy, HandlerDiscovery, HandlerWiring, Canary, CanaryPerch],
})
class WiringModule {}

@Injectable()
class Stock {
  readonly unit = 3;
}

@Injectable()
class DenyGuard implements CanActivate {
  constructor(private readonly stock: Stock) {}
  canActivate(context: ExecutionContext): boolean {
    const data = context.switchToRpc().getData<{ deny?: boolean } | undefined>();
    return this.stock.unit === 3 && data?.deny !== true;
  }
}

@Injectable()
class Wrap implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((wrapped: unknown) => ({ wrapped })));
  }
}

class Boom extends Error {}

@Catch(Boom)
class BoomFilter implements ExceptionFilter {
  catch(error: Boom): Observable<never> {
    return throwError(() => ({ boom: error.message, message: 'caught' }));
  }
}

class Order {
  @IsInt()
  qty!: number;
}

@UseGuards(DenyGuard)
@UseFilters(BoomFilter)
@Controller()
class Orders {
  constructor(private readonly stock: Stock) {}

  @UsePipes(new ValidationPipe({ transform: true, whitelist: true }))
  @UseInterceptors(Wrap)
  @OnLeaderMessage('price')
  price(@Payload() order: Order, @Ctx() context: HedgeContext) {
    return { total: order.qty * this.stock.unit, isOrder: order instanceof Order, id: context.requestId };
  }

  @OnLeaderMessage('both')
  @OnBroadcast('both')
  both(@Ctx() context: HedgeContext) {
    return { token: String(context.fencingToken), from: context.from.address, attempt: context.attempt };
  }

  @OnLeaderMessage('boom') boom() {
    throw new Boom('bang');
  }
  @OnLeaderMessage('plain') async plain() {
    throw new Error('no stock');
  }
  @OnLeaderMessage('http') http() {
    throw new BadRequestException('qty', { description: 'too few' });
  }
  @OnLeaderMessage('rpc') rpc() {
    throw new RpcException({ reason: 'closed' });
  }
  @OnLeaderMessage('not-leader') notLeader() {
    throw new HedgeError('NOT_LEADER', 'a call of the handler failed');
  }
  @OnLeaderMessage('nothing') nothing() {}
  @OnLeaderMessage('bytes') bytes(@Payload() bytes: Uint8Array) {
    return bytes.map((byte) => byte + 1);
  }
  @OnLeaderMessage('bigint') bigint() {
    return 1n;
  }
  @OnLeaderMessage('last') last() {
    return of(1, 2, 3);
  }
  @OnLeaderMessage('empty') empty() {
    return EMPTY;
  }
  @OnLeaderMessage('never') never() {
    return NEVER;
  }
}

@Injectable()
class Jobs {
  constructor(private readonly stock: Stock) {}

  @UseGuards(DenyGuard)
  @OnLeaderMessage('job')
  job(@Payload() data: unknown) {
    return { data, unit: this.stock.unit };
  }
}

@Injectable({ scope: Scope.REQUEST })
class Scoped {
  static made = 0;
  readonly number = ++Scoped.made;
  constructor(
    private readonly stock: Stock,
    @Inject(REQUEST) private readonly request: { getData(): unknown },
  ) {}

  @UseGuards(DenyGuard)
  @OnBroadcast('scoped')
  scoped() {
    return { number: this.number, data: this.request.getData(), unit: this.stock.unit };
  }
}

@Controller({ scope: Scope.REQUEST })
class ScopedController {
  static made = 0;
  readonly number = ++ScopedController.made;
  constructor(private readonly stock: Stock) {}

  @OnLeaderMessage('scoped') scoped() {
    return { number: this.number, unit: this.stock.unit };
  }
}

@Controller()
class Foreign {
  @MessagePattern('price') price() {
    return 'foreign';
  }
}

interface App {
  readonly context: INestApplicationContext;
  call(kind: HandlerKind, topic: string, data?: unknown, signal?: AbortSignal): Promise<unknown>;
}

async function appWith(
  parts: { controllers?: Type[]; providers?: Provider[] },
  enhancers: HandlerEnhancers = {},
): Promise<App> {
  @Module({
    imports: [WiringModule],
    controllers: parts.controllers ?? [],
    providers: [Stock, ...(parts.providers ?? [])],
  })
  class AppModule {}
  const context = await Test.createTestingModule({ imports: [AppModule] })

    .compile();
  // Compiling sets a logger of its own.
  Logger.overrideLogger(false);
  await context.init();
  await context.get(HandlerWiring, { strict: false }).wire(enhancers);
  return { context, call: caller(context) };
}

function caller(context: INestApplicationContext): App['call'] {
  const dispatch = new HandlerDispatch(context.get(HedgeStrategy, { strict: false }), codec);
  return async (kind, topic, data, signal = new AbortController().signal) =>
    codec.decode(topic, await dispatch.run(kind, request(kind, topic, data, signal)));
}

function request(kind: HandlerKind, topic: string, data: unknown, signal: AbortSignal): IncomingRequest {
  return {
    kind: kind === 'leader' ? RequestKind.REQUEST_KIND_LEADER_MESSAGE : RequestKind.REQUEST_KIND_BROADCAST,
    topic,
    payload: codec.encode(topic, data),
    caller: { address: 'pod-b:7400', incarnation: 'b' },
    requestId: 'r1',
    attempt: 1,
    epoch: kind === 'leader' ? 7n : 0n,
    timeoutMs: 1_000,
    signal,
  };
}

const everything = { controllers: [Orders, ScopedController, Foreign], providers: [Jobs, Scoped] };

describe('handlers that the module connects by itself', () => {
  it('run with guards, pipes, interceptors and context, in controllers', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'price', { qty: 2, extra: true })).toEqual({
      wrapped: { total: 6, isOrder: true, id: 'r1' },
    });
    await expect(call('leader', 'price', { qty: 2, deny: true })).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      message: 'Forbidden resource',
    });
  });

  it('run in providers, with the guards of their module', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'job', { n: 1 })).toEqual({ data: { n: 1 }, unit: 3 });
    await expect(call('leader', 'job', { deny: true })).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
  });

  it('may be for the leader and for all at once', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'both')).toEqual({ token: '7', from: 'pod-b:7400', attempt: 1 });
    expect(await call('broadcast', 'both')).toMatchObject({ token: 'undefined' });
  });

  it('are made anew for each request when request-scoped', async () => {
    const { call } = await appWith(everything);
    const first = (await call('broadcast', 'scoped', { n: 1 })) as { number: number };
    expect(first).toMatchObject({ data: { n: 1 }, unit: 3 });
    expect(await call('broadcast', 'scoped', { n: 2 })).toMatchObject({ number: first.number + 1, data: { n: 2 } });
    const controller = (await call('leader', 'scoped')) as { number: number };
    expect(await call('leader', 'scoped')).toEqual({ number: controller.number + 1, unit: 3 });
  });

  it('reply with undefined, bytes, and the last value of an Observable', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'nothing')).toBeUndefined();
    expect(await call('leader', 'bytes', Uint8Array.of(1, 2))).toEqual(Uint8Array.of(2, 3));
    expect(await call('leader', 'last')).toBe(3);
    expect(await call('leader', 'empty')).toBeUndefined();
  });

  it('are given up with the request when their Observable never completes', async () => {
    const { call } = await appWith(everything);
    const abort = new AbortController();
    const reply = call('leader', 'never', undefined, abort.signal);
    abort.abort(new Error('deadline'));
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'deadline' });
  });

  it.each([
    ['boom', 'caught', { error: { boom: 'bang', message: 'caught' } }],
    ['plain', 'no stock', {}],
    ['http', 'qty', { status: 400, response: { statusCode: 400, message: 'qty', error: 'too few' } }],
    ['rpc', 'Rpc Exception', { error: { reason: 'closed' } }],
  ])('fail as HANDLER_FAILED with what %s threw', async (topic, message, details) => {
    const { call } = await appWith(everything);
    await expect(call('leader', topic)).rejects.toMatchObject({ code: 'HANDLER_FAILED', message, details });
  });

  it('cannot make a caller try again with an error that a call of theirs got', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'not-leader')).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      retryable: false,
      details: { error: { code: 'NOT_LEADER' } },
    });
  });

  it('fail as HANDLER_FAILED when their result cannot be serialized', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'bigint')).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
  });

  it('tell the details of a failed validation', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'price', { qty: 'two' })).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      details: { status: 400, response: { message: ['qty must be an integer number'] } },
    });
  });

  it('do not include those of another transport, nor another kind', async () => {
    const { call } = await appWith({ controllers: [Foreign, Orders] });
    await expect(call('broadcast', 'price')).rejects.toMatchObject({ code: 'NO_HANDLER' });
    await expect(call('leader', 'pryce')).rejects.toThrow(/'price', 'both'/);
  });

  it('get the global enhancers of the options, before their own', async () => {
    const seen: string[] = [];
    const note = (name: string) => void seen.push(name);
    const { call } = await appWith(everything, {
      guards: [{ canActivate: () => (note('guard'), true) }],
      pipes: [{ transform: (value: unknown) => (note('pipe'), value) }],
      interceptors: [{ intercept: (_, next) => (note('interceptor'), next.handle()) }],
      filters: [new BoomFilter()],
    });
    await call('leader', 'job', {});
    expect(seen).toEqual(['guard', 'interceptor', 'pipe']);
    await expect(call('leader', 'plain')).rejects.toMatchObject({ message: 'no stock' });
  });
});

describe('a start is refused', () => {
  it('for two methods of one topic, naming both', async () => {
    @Controller()
    class More {
      @OnLeaderMessage('job') again() {}
    }
    await expect(appWith({ controllers: [More], providers: [Jobs] })).rejects.toThrow(
      "@OnLeaderMessage('job') must be on one method: More.again and Jobs.job both have it.",
    );
  });

  it('for one class in two modules, naming both', async () => {
    @Module({ providers: [Jobs, Stock] })
    class OtherModule {}
    @Module({ imports: [WiringModule, OtherModule], providers: [Jobs, Stock] })
    class AppModule {}
    const context = await Test.createTestingModule({ imports: [AppModule] }).compile();
    await context.init();
    await expect(context.get(HandlerWiring, { strict: false }).wire({})).rejects.toThrow(
      'Jobs.job stands in two modules, AppModule and OtherModule',
    );
  });

  it('for handlers of transient providers, and of providers under another token', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Passing {
      @OnBroadcast('passing') run() {}
    }
    await expect(appWith({ providers: [Passing] })).rejects.toThrow('Passing.run is a handler of a transient provider');
    await expect(appWith({ providers: [{ provide: 'jobs', useClass: Jobs }] })).rejects.toThrow(
      'Jobs.job is a handler of a provider that stands under another token',
    );
    const made = { provide: 'jobs', useFactory: () => new Jobs(new Stock()) };
    await expect(appWith({ providers: [made] })).rejects.toThrow('under another token');
  });

  it('not for another name of a wired instance', async () => {
    const { call } = await appWith({
      providers: [
        Jobs,
        { provide: 'alias', useExisting: Jobs },
        { provide: 'made', inject: [Jobs], useFactory: (jobs: Jobs) => jobs },
      ],
    });
    expect(await call('leader', 'job', {})).toMatchObject({ unit: 3 });
  });

  it('when another transport took the method', async () => {
    @Controller()
    class Taken {
      @MessagePattern('kafka', Transport.KAFKA)
      @OnLeaderMessage('taken')
      run() {}
    }
    await expect(appWith({ controllers: [Taken] })).rejects.toThrow(
      "@OnLeaderMessage('taken') Taken.run (a controller)",
    );
    expect(() => {
      class TakenFirst {
        @OnLeaderMessage('taken')
        @MessagePattern('kafka', Transport.KAFKA)
        run() {}
      }
      return TakenFirst;
    }).toThrow('TakenFirst.run already handles messages of another transport');
  });

  it('for a notice on a class without a single instance', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Fleeting {
      @OnLeaderChange() changed() {}
    }
    const { context } = await appWith({ providers: [Fleeting] });
    expect(() => context.get(HandlerDiscovery, { strict: false }).notices()).toThrow('Fleeting.changed');
  });

  it('when guards no longer run the way this Nest is used', async () => {
    const canActivate = CanaryGuard.prototype.canActivate;
    CanaryGuard.prototype.canActivate = () => true;
    try {
      await expect(appWith(everything)).rejects.toThrow(
        'app.connectMicroservice({ strategy: app.get(HedgeStrategy) });',
      );
    } finally {
      CanaryGuard.prototype.canActivate = canActivate;
    }
  });
});

async function connected(parts: { controllers?: Type[]; providers?: Provider[] }, enhancers: HandlerEnhancers = {}) {
  @Module({
    imports: [WiringModule],
    controllers: parts.controllers ?? [],
    providers: [Stock, ...(parts.providers ?? [])],
  })
  class AppModule {}
  const testing = await Test.createTestingModule({ imports: [AppModule] })

    .compile();
  const app = testing.createNestApplication();
  const strategy = app.get(HedgeStrategy, { strict: false });
  app.connectMicroservice({ strategy });
  await app.init();
  const wired = await app.get(HandlerWiring, { strict: false }).wire(enhancers);
  return { app, wired, strategy, call: caller(app) };
}

describe('an app that connects the strategy itself', () => {
  it('has its controllers wired by Nest', async () => {
    const { app, wired, call } = await connected({ controllers: [Orders, ScopedController, Foreign] });
    expect(wired).toBe(true);
    expect(await call('leader', 'price', { qty: 1 })).toMatchObject({ wrapped: { total: 3 } });
    await expect(call('leader', 'price', { deny: true })).rejects.toMatchObject({ message: 'Forbidden resource' });
    await app.close();
  });

  it('is told which handlers Nest left out', async () => {
    await expect(connected({ controllers: [Orders], providers: [Jobs] })).rejects.toThrow(
      "@OnLeaderMessage('job') Jobs.job (a provider)",
    );
  });

  it('is refused enhancers that would not run', async () => {
    await expect(connected({ controllers: [Orders] }, { guards: [{ canActivate: () => false }] })).rejects.toThrow(
      '"enhancers" has no effect',
    );
  });

  it('may do so with deferred initialization, and is wired when Nest starts the microservice', async () => {
    @Module({ imports: [WiringModule], controllers: [Orders], providers: [Stock] })
    class AppModule {}
    const testing = await Test.createTestingModule({ imports: [AppModule] })

      .compile();
    const app = testing.createNestApplication();
    const strategy = app.get(HedgeStrategy, { strict: false });
    app.connectMicroservice({ strategy }, { deferInitialization: true });
    await app.init();
    const wiring = app.get(HandlerWiring, { strict: false });
    expect(await wiring.wire({})).toBe(false);
    let atListen: boolean | undefined;
    strategy.onListen(async () => {
      atListen = await wiring.wire({});
    });
    await app.startAllMicroservices();
    expect(atListen).toBe(true);
    await app.close();
  });

  it('cannot do so after the app has started', async () => {
    const { context } = await appWith({ controllers: [Orders] });
    const strategy = context.get(HedgeStrategy, { strict: false });
    expect(() => strategy.addHandler({ hedge: 'leader', topic: 'price' }, async () => 1)).toThrow(
      "@OnLeaderMessage('price') is wired already",
    );
  });
});
