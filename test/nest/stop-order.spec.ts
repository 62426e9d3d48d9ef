import { Global, Injectable, Logger, Module } from '@nestjs/common';
import type { INestApplicationContext, OnApplicationShutdown, OnModuleDestroy, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeModule,
  KvStore,
  LeaderService,
  OnBroadcast,
  OnBroadcastStream,
  OnLeaderMessage,
  OnMembersChange,
  WhileLeader,
} from 'nestjs-hedge';
import type { Leadership } from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const quiet = { abortOnError: false, logger: false } as const;

/** A resource that the leader tasks of the app use. */
abstract class Pool {
  open = true;

  query(): string {
    return this.open ? 'answered' : 'the pool is closed';
  }
}

@Injectable()
class PoolClosedOnDestroy extends Pool implements OnModuleDestroy {
  onModuleDestroy(): void {
    this.open = false;
  }
}

@Injectable()
class PoolClosedOnShutdown extends Pool implements OnApplicationShutdown {
  onApplicationShutdown(): void {
    this.open = false;
  }
}

/** Uses the pool once more after the abort of its signal. */
@Injectable()
class Work {
  readonly answers: Record<string, string> = {};
  running = 0;
  constructor(private readonly pool: Pool) {}

  @WhileLeader()
  async task({ signal }: Leadership): Promise<void> {
    this.running += 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    // The stop goes on during this pause if it does not wait.
    await new Promise((resolve) => setTimeout(resolve, 20));
    this.answers['task'] = this.pool.query();
  }

  release: () => void = () => undefined;

  @OnLeaderMessage('work')
  async handle(): Promise<void> {
    this.running += 1;
    await new Promise<void>((resolve) => void (this.release = resolve));
    this.answers['handler'] = this.pool.query();
  }
}

type Place = 'first' | 'in the middle' | 'last' | 'in a feature module' | 'in a global module';
type Home = 'the root module' | 'an imported module' | 'a global module';

/** An app with HedgeModule at the given place, and the pool in the given module. */
function appModule(place: Place, home: Home, pool: Type<Pool>): Type {
  const provided = { providers: [pool, { provide: Pool, useExisting: pool }], exports: [Pool] };
  @Module(home === 'the root module' ? {} : provided)
  class PoolModule {}
  if (home === 'a global module') Global()(PoolModule);
  @Module({})
  class OtherModule {}
  const hedge = HedgeModule.forRoot(new Pods().pod());
  @Module({ imports: [OtherModule, hedge] })
  class FeatureModule {}
  if (place === 'in a global module') Global()(FeatureModule);
  const imports = {
    first: [hedge, PoolModule, OtherModule],
    'in the middle': [OtherModule, hedge, PoolModule],
    last: [PoolModule, OtherModule, hedge],
    'in a feature module': [PoolModule, FeatureModule],
    'in a global module': [FeatureModule, PoolModule],
  }[place];
  @Module({ imports, providers: [Work, ...(home === 'the root module' ? provided.providers : [])] })
  class AppModule {}
  return AppModule;
}

const opened: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

const places: Place[] = ['first', 'in the middle', 'last', 'in a feature module', 'in a global module'];
const homes: Home[] = ['the root module', 'an imported module', 'a global module'];
const pools = { onModuleDestroy: PoolClosedOnDestroy, onApplicationShutdown: PoolClosedOnShutdown };
const cases = places.flatMap((place) =>
  homes.flatMap((home) => Object.entries(pools).map(([hook, pool]) => ({ place, home, hook, pool }))),
);

describe('a stop ends leader tasks before the pool that they use closes', () => {
  it.each(cases)('with HedgeModule $place, and the pool in $home, closed in $hook', async ({ place, home, pool }) => {
    const app = await NestFactory.createApplicationContext(appModule(place, home, pool), quiet);
    opened.push(app);
    const work = app.get(Work);
    const handled = app.get(LeaderService).send('work', {});
    await until(() => work.running === 2, 'the task and the handler run');
    const closed = app.close();
    await until(() => 'task' in work.answers, 'the task has ended');
    work.release();
    await closed;
    await handled;
    expect(work.answers).toEqual({ task: 'answered', handler: 'answered' });
  });
});

describe('the services of a pod that stops', () => {
  it.each(places)('serve the last hooks of other modules, with HedgeModule %s', async (place) => {
    const written: unknown[] = [];
    @Injectable()
    class Goodbye extends Pool implements OnModuleDestroy, OnApplicationShutdown {
      constructor(private readonly kv: KvStore) {
        super();
      }
      async onModuleDestroy(): Promise<void> {
        written.push(await this.kv.get('k'));
      }
      async onApplicationShutdown(): Promise<void> {
        written.push(await this.kv.get('k'));
      }
    }
    const app = await NestFactory.createApplicationContext(appModule(place, 'an imported module', Goodbye), quiet);
    opened.push(app);
    await app.get(KvStore).put('k', 'v');
    await app.close();
    expect(written).toMatchObject([{ value: 'v' }, { value: 'v' }]);
  });
});

describe('a stop waits for running methods before the pool that they use closes:', () => {
  /** Runs until `release`, and then uses the pool once more. */
  @Injectable()
  class Held {
    readonly answers: string[] = [];
    running = 0;
    release: () => void = () => undefined;
    readonly #released = new Promise<void>((resolve) => void (this.release = resolve));
    constructor(private readonly pool: Pool) {}

    @OnBroadcast('flush')
    async flush(): Promise<string> {
      return this.#use();
    }

    @OnBroadcastStream('warm')
    async *warm(): AsyncGenerator<string> {
      yield await this.#use();
    }

    holdsChanges = false;
    @OnMembersChange()
    async changed(): Promise<void> {
      if (this.holdsChanges) await this.#use();
    }

    async #use(): Promise<string> {
      this.running += 1;
      await this.#released;
      // The stop goes on during this pause if it does not wait.
      await new Promise((resolve) => setTimeout(resolve, 50));
      const answer = this.pool.query();
      this.answers.push(answer);
      return answer;
    }
  }

  /** Two pods. The second one is a follower and has the held handlers. */
  async function startTwo(drainMs = 15_000) {
    const pods = new Pods({ providers: [{ provide: Pool, useClass: PoolClosedOnDestroy }, Held] }, {
      shutdown: { drainMs },
    } as const);
    for (let i = 0; i < 2; i++) opened.push(await pods.start());
    const [leader, follower] = pods.apps as [INestApplicationContext, INestApplicationContext];
    const cluster = leader.get(ClusterService);
    await until(() => cluster.members().length === 2 && cluster.view.settled, 'two pods know each other');
    const { address } = follower.get(ClusterService).self;
    return { pods, cluster, follower, address, held: follower.get(Held) };
  }

  it('a broadcast handler, whose reply still arrives, while new broadcasts are refused', async () => {
    const { cluster, follower, address, held } = await startTwo();
    const results = cluster.broadcast('flush', {}, { only: [address], timeoutMs: 15_000 });
    await until(() => held.running === 1, 'the handler runs');
    const own = follower.get(ClusterService);
    const closed = follower.close();
    await until(() => cluster.members().length === 1, 'the follower has left the view');
    const [refused] = await own.broadcast('flush', {}, { only: [address] });
    expect(refused?.error?.code).toBe('SHUTTING_DOWN');
    held.release();
    expect((await results)[0]).toMatchObject({ value: 'answered' });
    await closed;
    expect(held.answers).toEqual(['answered']);
  });

  it('a handler of a broadcast stream, whose replies still arrive, while new streams are refused', async () => {
    const { cluster, follower, address, held } = await startTwo();
    const events = cluster.broadcastStream('warm', [1], { only: [address] });
    const first = events.next();
    await until(() => held.running === 1, 'the handler runs');
    const own = follower.get(ClusterService);
    const closed = follower.close();
    await until(() => cluster.members().length === 1, 'the follower has left the view');
    const refused = await own.broadcastStream('warm', [1], { only: [address] }).next();
    expect(refused.value).toMatchObject({ type: 'end', error: { message: expect.stringContaining('is stopping') } });
    held.release();
    expect((await first).value).toMatchObject({ type: 'reply', value: 'answered' });
    await events.next();
    await closed;
    expect(held.answers).toEqual(['answered']);
  });

  it('a method called on a change of the members', async () => {
    const { pods, follower, held } = await startTwo();
    held.holdsChanges = true;
    opened.push(await pods.start());
    await until(() => held.running === 1, 'the method runs');
    const closed = follower.close();
    held.release();
    await closed;
    expect(held.answers).toEqual(['answered']);
  });

  it('except for a method that never returns, beyond shutdown.drainMs', async () => {
    const { cluster, follower, address, held } = await startTwo(50);
    const results = cluster.broadcast('flush', {}, { only: [address], timeoutMs: 15_000 });
    await until(() => held.running === 1, 'the handler runs');
    await follower.close();
    expect((await results)[0]?.error).toBeDefined();
    held.release();
  });
});

describe('the last pod of a group', () => {
  @Injectable()
  class LastPut implements OnApplicationShutdown {
    error: unknown;
    stored: unknown;
    constructor(private readonly kv: KvStore) {}

    @WhileLeader()
    async task({ signal }: Leadership): Promise<void> {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      this.stored = await this.kv.put('last', 'of the task', { timeoutMs: 2_000 }).catch((error: unknown) => error);
    }

    async onApplicationShutdown(): Promise<void> {
      this.error = await this.kv.put('last', 'of the hook', { timeoutMs: 1 }).catch((error: unknown) => error);
    }
  }

  it('fails a put in its last hook with NO_LEADER, because it has stepped down', async () => {
    @Module({ imports: [HedgeModule.forRoot(new Pods().pod())], providers: [LastPut] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, quiet);
    opened.push(app);
    const last = app.get(LastPut);
    await until(() => app.get(LeaderService).isLeader(), 'it leads');
    await app.close();
    expect(last.error).toMatchObject({
      code: 'NO_LEADER',
      message: expect.stringContaining('This pod is stopping and no longer leads'),
    });
    expect(last.stored).toMatchObject({ value: 'of the task' });
  });
});
