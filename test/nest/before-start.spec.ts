import { Controller, Global, Injectable, Logger, Module } from '@nestjs/common';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeModule,
  HedgeStrategy,
  JobsService,
  KvStore,
  LeaderService,
  LockService,
  OnLeaderMessage,
  SemaphoreService,
  SpillStore,
} from 'nestjs-hedge';
import { Pods } from './apps.js';

Logger.overrideLogger(false);

const quiet = { abortOnError: false, logger: false } as const;

const opened: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

@Injectable()
class Services {
  constructor(
    readonly leader: LeaderService,
    readonly cluster: ClusterService,
    readonly kv: KvStore,
    readonly locks: LockService,
    readonly semaphores: SemaphoreService,
    readonly jobs: JobsService,
    readonly spill: SpillStore,
  ) {}

  @OnLeaderMessage('echo')
  echo() {
    return 'echo';
  }
}

type Call = (services: Services) => Promise<unknown>;

/** Every call that needs the group, with its result once the group exists. */
const calls: readonly [string, Call, unknown][] = [
  ['send', ({ leader }) => leader.send('echo', {}), 'echo'],
  ['put', ({ kv }) => kv.put('k', 'v'), expect.objectContaining({ value: 'v' })],
  ['get', ({ kv }) => kv.get('nothing'), undefined],
  ['history', ({ kv }) => kv.history('nothing'), []],
  ['keys', ({ kv }) => kv.keys('nothing'), []],
  ['lock', async ({ locks }) => (await locks.acquire('l')).release(), undefined],
  ['tryAcquire', ({ locks }) => locks.tryUse('l', () => 1), { ran: true, result: 1 }],
  ['holder', ({ locks }) => locks.holder('nobody'), undefined],
  ['semaphore', ({ semaphores }) => semaphores.use('s', { limit: 1 }, () => 1), 1],
  ['holders', ({ semaphores }) => semaphores.get('nobody', { limit: 1 }).holders(), []],
  ['history of a job', ({ jobs }) => jobs.history('nothing'), []],
  ['list of jobs', ({ jobs }) => jobs.list(), []],
  ['spill', ({ spill }) => spill.use('s', () => 1), 1],
];

const groupCalls: readonly [string, Call][] = [
  ...calls.map(([name, call]): [string, Call] => [name, call]),
  ['resize', ({ semaphores }) => semaphores.get('s', { limit: 1 }).resize(2)],
  ['broadcast', async ({ cluster }) => cluster.broadcast('b')],
  ['sendStream', ({ leader }) => leader.sendStream('st', []).next()],
  ['broadcastStream', ({ cluster }) => cluster.broadcastStream('st', []).next()],
];

/** An app whose root, imported or global module has the given provider. */
function appWith(user: Type, home: 'root' | 'imported' | 'global'): Type {
  @Global()
  @Module({ providers: [Services], exports: [Services] })
  class ServicesModule {}
  @Module(home === 'root' ? {} : { providers: [user] })
  class UserModule {}
  if (home === 'global') Global()(UserModule);
  @Module({
    imports: [UserModule, HedgeModule.forRoot(new Pods().pod()), ServicesModule],
    providers: home === 'root' ? [user] : [],
  })
  class AppModule {}
  return AppModule;
}

describe('a call before the pod has started', () => {
  it.each(groupCalls)('from onModuleInit fails at once: %s', async (_, call) => {
    let outcome: unknown;
    @Injectable()
    class Early {
      constructor(private readonly services: Services) {}
      async onModuleInit() {
        outcome = await call(this.services).catch((error: unknown) => error);
      }
    }
    opened.push(await NestFactory.createApplicationContext(appWith(Early, 'imported'), quiet));
    expect(outcome).toMatchObject({
      code: 'NOT_STARTED',
      retryable: true,
      message: expect.stringContaining('this pod has not started'),
    });
  });

  it.each(['root', 'imported', 'global'] as const)(
    'from onApplicationBootstrap of the %s module waits for the start',
    async (home) => {
      const outcomes: Record<string, unknown> = {};
      @Injectable()
      class Early {
        constructor(private readonly services: Services) {}
        async onApplicationBootstrap() {
          for (const [name, call] of calls) outcomes[name] = await call(this.services);
        }
      }
      opened.push(await NestFactory.createApplicationContext(appWith(Early, home), quiet));
      expect(outcomes).toEqual(Object.fromEntries(calls.map(([name, , result]) => [name, result])));
    },
  );

  it('fails at once when the app registers its handlers later, and works after that', async () => {
    @Controller()
    class Echo {
      @OnLeaderMessage('echo') echo() {}
    }
    @Module({ imports: [HedgeModule.forRoot(new Pods().pod())], controllers: [Echo] })
    class AppModule {}
    const app = await NestFactory.create(AppModule, quiet);
    opened.push(app);
    app.connectMicroservice({ strategy: app.get(HedgeStrategy) }, { deferInitialization: true });
    await app.init();
    await expect(app.get(KvStore).put('k', 'v')).rejects.toMatchObject({ code: 'NOT_STARTED' });
    await app.startAllMicroservices();
    expect(await app.get(KvStore).put('k', 'v')).toMatchObject({ value: 'v' });
  });

  it('fails with the error of the start when the start fails', async () => {
    let outcome: unknown;
    @Injectable()
    class Early {
      constructor(private readonly kv: KvStore) {}
      async onApplicationBootstrap() {
        outcome = await this.kv.put('k', 'v').catch((error: unknown) => error);
      }
    }
    const twice = {
      module: class {},
      providers: [Early],
      imports: [new Pods().module(), new Pods().module()],
    };
    await expect(NestFactory.createApplicationContext(twice, quiet)).rejects.toThrow('imported twice');
    expect(outcome).toMatchObject({ code: 'INVALID_OPTIONS' });
  });
});
