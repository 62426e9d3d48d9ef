import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Controller, Get, Injectable, Logger, Module } from '@nestjs/common';
import type {
  BeforeApplicationShutdown,
  CanActivate,
  ExecutionContext,
  INestApplicationContext,
  Provider,
} from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeModule,
  HedgeStrategy,
  KvStore,
  LeaderService,
  OnBroadcast,
  OnLeaderMessage,
} from 'nestjs-hedge';
import type { HedgeOptions, HedgeOptionsFactory } from 'nestjs-hedge';
import { BackendFaults, faulty } from 'nestjs-hedge/testing';
import { memory } from 'nestjs-hedge/memory';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

@Controller()
class Echo {
  @Get('hello') hello() {
    return 'hello';
  }
  @OnLeaderMessage('echo') echo() {
    return 'from a controller';
  }
}

@Injectable()
class Job {
  @OnBroadcast('job') job() {
    return 'from a provider';
  }
}

const open: INestApplicationContext[] = [];

/** Closed after the test, whatever its outcome. */
function opened<App extends INestApplicationContext>(app: App): App {
  open.push(app);
  return app;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function works(app: INestApplicationContext): Promise<void> {
  expect(await app.get(LeaderService).send('echo', {})).toBe('from a controller');
}

const quiet = { abortOnError: false, logger: false } as const;

function moduleOf(...providers: Provider[]) {
  return new Pods({ controllers: [Echo], providers }).module();
}

describe('handlers are served by', () => {
  it('an application context', async () => {
    const context = opened(await NestFactory.createApplicationContext(moduleOf(Job), quiet));
    await works(context);
    expect(await context.get(ClusterService).broadcast('job', {})).toMatchObject([{ value: 'from a provider' }]);
  });

  it('a testing module, once it is initialised', async () => {
    const testing = opened(await Test.createTestingModule({ imports: [moduleOf()] }).compile());
    await testing.init();
    await works(testing);
  });

  it('an HTTP app with a global guard for HTTP', async () => {
    @Injectable()
    class HttpGuard implements CanActivate {
      canActivate(context: ExecutionContext): boolean {
        return context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers['x-user'] === 'me';
      }
    }
    const http = opened(await NestFactory.create(moduleOf({ provide: APP_GUARD, useClass: HttpGuard }), quiet));
    await http.listen(0);
    await works(http);
    const { port } = http.getHttpServer().address() as AddressInfo;
    expect((await fetch(`http://127.0.0.1:${port}/hello`)).status).toBe(403);
    expect((await fetch(`http://127.0.0.1:${port}/hello`, { headers: { 'x-user': 'me' } })).status).toBe(200);
  });

  it('an app that connects the strategy itself', async () => {
    const hybrid = opened(await NestFactory.create(moduleOf(), quiet));
    hybrid.connectMicroservice({ strategy: hybrid.get(HedgeStrategy) });
    await hybrid.init();
    await works(hybrid);
    await hybrid.startAllMicroservices();
    await works(hybrid);
  });

  it('an app that connects the strategy later', async () => {
    const hybrid = opened(await NestFactory.create(moduleOf(), quiet));
    hybrid.connectMicroservice({ strategy: hybrid.get(HedgeStrategy) }, { deferInitialization: true });
    await hybrid.init();
    expect(hybrid.get(LeaderService).leader()).toBeUndefined();
    await hybrid.startAllMicroservices();
    await works(hybrid);
  });

  it.each(['listen', 'init'] as const)('a separate microservice, after %s', async (start) => {
    const microservice = opened(
      await NestFactory.createMicroservice(moduleOf(), {
        ...quiet,
        inject: [HedgeStrategy],
        useFactory: (strategy: HedgeStrategy) => ({ strategy }),
      } as never),
    );
    await microservice[start]();
    await works(microservice);
  });
});

describe('options', () => {
  @Module({ providers: [{ provide: 'GROUP', useValue: 'from-inject' }], exports: ['GROUP'] })
  class ConfigModule {}

  @Injectable()
  class OptionsFactory implements HedgeOptionsFactory {
    createHedgeOptions(): HedgeOptions {
      return new Pods().pod();
    }
  }
  @Module({ providers: [OptionsFactory], exports: [OptionsFactory] })
  class OptionsModule {}

  it.each([
    [
      'a factory with imports and inject',
      HedgeModule.forRootAsync({
        imports: [ConfigModule],
        inject: ['GROUP'],
        useFactory: (group: string) => new Pods().pod({ group }),
      }),
    ],
    ['a class', HedgeModule.forRootAsync({ useClass: OptionsFactory })],
    ['an existing provider', HedgeModule.forRootAsync({ imports: [OptionsModule], useExisting: OptionsFactory })],
  ])('come from %s', async (_, module) => {
    const app = opened(await NestFactory.createApplicationContext({ module: class {}, imports: [module] }, quiet));
    await until(() => app.get(LeaderService).isLeader(), 'it leads');
  });

  it('fail the start when they are invalid', async () => {
    await expect(
      NestFactory.createApplicationContext(new Pods().module({ timing: { leaseMs: 10 } }), quiet),
    ).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });

  it('fail the start when the app imports the module twice', async () => {
    const twice = { module: class {}, imports: [new Pods().module(), new Pods().module()] };
    await expect(NestFactory.createApplicationContext(twice, quiet)).rejects.toThrow('HedgeModule is imported twice');
  });

  it('fail the start when the port is in use, and leave nothing open', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const pod = new Pods().module({ address: `127.0.0.1:${port}` });
    await expect(NestFactory.createApplicationContext(pod, quiet)).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    other.close();
  });
});

describe('modes', () => {
  it('client: uses the services, never leads, is not a member', async () => {
    const pods = new Pods({ controllers: [Echo] });
    opened(await pods.start());
    const client = opened(await pods.start({ mode: 'client' }));
    await works(client);
    await client.get(KvStore).put('k', 'v');
    expect(client.get(LeaderService).isLeader()).toBe(false);
    await until(() => client.get(ClusterService).members().length === 1, 'the client sees the one member');
    expect(client.get(ClusterService).self.address).toBe('');
  });

  it('off: opens nothing and refuses every call', async () => {
    const app = opened(await new Pods({ controllers: [Echo] }).start({ mode: 'off' }));
    expect(app.get(LeaderService).isLeader()).toBe(false);
    await expect(app.get(LeaderService).send('echo', {})).rejects.toMatchObject({ name: 'HedgeError' });
    await expect(app.get(KvStore).get('k')).rejects.toMatchObject({ name: 'HedgeError' });
  });
});

function podWith(faults: BackendFaults, options: Partial<HedgeOptions> = {}) {
  return new Pods({ controllers: [Echo] }).start({ backend: faulty(memory(), faults), ...options });
}

describe('an unreachable database', () => {
  it('at the start is retried in the background', async () => {
    const faults = new BackendFaults();
    faults.outage = true;
    const app = opened(await podWith(faults));
    expect(app.get(LeaderService).isLeader()).toBe(false);
    faults.outage = false;
    await works(app);
  });

  it('from start to stop does not prevent a clean stop', async () => {
    const faults = new BackendFaults();
    faults.outage = true;
    const app = await podWith(faults);
    await app.close();
    expect(app.get(LeaderService).isLeader()).toBe(false);
  });

  it('at the stop does not delay it past its deadline', async () => {
    const faults = new BackendFaults();
    const app = await podWith(faults, { shutdown: { drainMs: 100, totalMs: 1_500 } });
    await works(app);
    faults.outage = true;
    await app.close();
    expect(app.get(LeaderService).isLeader()).toBe(false);
  });
});

describe('a stop', () => {
  it('waits for running handlers until the deadline, then closes in spite of a hung one', async () => {
    let hang: (() => void) | undefined;
    @Controller()
    class Slow {
      @OnLeaderMessage('slow') slow() {
        return new Promise<void>((resolve) => void (hang = resolve));
      }
    }
    const app = await new Pods({ controllers: [Slow] }).start({ shutdown: { drainMs: 200, totalMs: 2_000 } });
    const reply = app
      .get(LeaderService)
      .send('slow', {}, { timeoutMs: 60_000 })
      .catch((error: unknown) => error);
    await until(() => hang !== undefined, 'the handler runs');
    await app.close();
    expect(await reply).toMatchObject({ name: 'HedgeError' });
    hang?.();
  });

  it('runs once, however often the app calls it', async () => {
    const app = await new Pods({ controllers: [Echo] }).start();
    await works(app);
    await Promise.all([app.close(), app.close()]);
    await app.close();
  });

  it('keeps put and get working for hooks that run after it began, while another pod leads', async () => {
    let late: Promise<unknown> | undefined;
    const pods = new Pods({ controllers: [Echo] });
    @Injectable()
    class Finishing implements BeforeApplicationShutdown {
      constructor(private readonly kv: KvStore) {}
      beforeApplicationShutdown() {
        late = this.kv.put('late', 'written');
        return late;
      }
    }
    opened(await pods.start());
    const second = await new Pods({ controllers: [Echo], providers: [Finishing] }).start({
      ...pods.pod(),
    });
    await until(() => second.get(LeaderService).leader() !== undefined, 'the second knows the leader');
    await second.close();
    await expect(late).resolves.toMatchObject({ value: 'written' });
  });
});
