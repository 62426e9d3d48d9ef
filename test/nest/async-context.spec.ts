import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller, Injectable, Logger, UseGuards, UseInterceptors } from '@nestjs/common';
import type {
  CallHandler,
  CanActivate,
  ExecutionContext,
  INestApplicationContext,
  NestInterceptor,
} from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeContext,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  OnBroadcast,
  OnBroadcastStream,
  OnLeaderChange,
  OnLeaderMessage,
  OnLeaderStream,
  OnMembersChange,
  WhileLeader,
} from 'nestjs-hedge';
import type { Observable } from 'rxjs';
import { type Context, context, createContextKey, ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const storage = new AsyncLocalStorage<string>();
const store = (): string => storage.getStore() ?? 'none';

/** A value and a span in the context of OpenTelemetry, as an SDK of the app sets them. */
const KEY = createContextKey('of the app');
function withSpan(value: string): Context {
  const ids = {
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    spanId: '00f067aa0ba902b7',
    traceFlags: TraceFlags.SAMPLED,
  };
  return trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext(ids)).setValue(KEY, value);
}

/** The stores that methods called by the library saw, and not by a caller. */
const seen: Record<string, string[]> = {};

/** Records the store that it sees, and enters a store, as some modules for request contexts do. */
function note(name: string): void {
  (seen[name] ??= []).push(store());
  storage.enterWith(`entered by ${name}`);
}

@Injectable()
class Enter implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    storage.enterWith(`${store()}, guard`);
    return context.getType() === 'rpc';
  }
}

@Injectable()
class See implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    note('interceptor');
    return next.handle();
  }
}

@Controller()
class Handlers {
  @UseGuards(Enter)
  @OnLeaderMessage('guarded')
  async guarded() {
    const before = store();
    await new Promise((resolve) => setImmediate(resolve));
    return [before, store()];
  }

  @OnLeaderMessage('seen')
  @OnBroadcast('seen')
  async seen() {
    const before = store();
    storage.enterWith('handler');
    return before;
  }

  @UseInterceptors(See)
  @OnLeaderMessage('intercepted')
  intercepted() {
    return 'done';
  }

  @OnLeaderMessage('context')
  context() {
    return [String(context.active().getValue(KEY)), trace.getActiveSpan()?.spanContext().traceId ?? 'no trace'];
  }

  @OnLeaderMessage('fails')
  fails() {
    storage.enterWith('handler');
    throw new Error('failed');
  }

  @OnLeaderMessage('aborted')
  async aborted(@Ctx() { signal }: HedgeContext) {
    note('handler that is aborted');
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => (note('listener of a signal'), resolve()), { once: true });
    });
  }

  @UseGuards(Enter)
  @OnLeaderStream('stream')
  @OnBroadcastStream('stream')
  async *stream(@Payload() input: AsyncIterable<unknown>) {
    yield store();
    for await (const _ of input) yield store();
    yield store();
  }

  @LeaderOnly({ forward: true })
  async forwarded() {
    return store();
  }

  @OnLeaderChange()
  leaderChanged() {
    note('@OnLeaderChange');
  }

  @OnMembersChange()
  membersChanged() {
    note('@OnMembersChange');
  }

  @WhileLeader()
  async whileLeader() {
    note('@WhileLeader');
  }

  @LeaderInterval(1_000)
  async job() {
    note('@LeaderInterval');
  }
}

beforeEach(() => {
  for (const name of Object.keys(seen)) delete seen[name];
});

const sourceStores: string[] = [];

async function* source() {
  sourceStores.push(store());
  yield 1;
  await new Promise((resolve) => setImmediate(resolve));
  sourceStores.push(store());
  yield 2;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Each of these methods saw no store in any call. */
function expectNone(...names: string[]): void {
  for (const name of names) expect({ [name]: [...new Set(seen[name])] }).toEqual({ [name]: ['none'] });
}

describe.each([
  ['alone', 1],
  ['with another pod', 2],
])('a pod %s', (_, count) => {
  const pods = new Pods({ controllers: [Handlers], providers: [Enter, See] });
  // Stands for an app that starts within a store, in a test for example.
  beforeAll(() =>
    storage.run('bootstrap', async () => {
      for (let i = 0; i < count; i++) await pods.start();
      await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === count), 'all are known');
    }),
  );
  afterAll(() => pods.close());

  const callers = count === 1 ? ['leads'] : ['leads', 'follows'];

  describe.each(callers)('that %s', (role) => {
    const app = (): INestApplicationContext => (role === 'leads' ? pods.leader : pods.followers[0]!);
    const leader = (): LeaderService => app().get(LeaderService);
    const cluster = (): ClusterService => app().get(ClusterService);

    it('runs each message in its own scope, from its guards on', async () => {
      for (let i = 0; i < 3; i++) {
        // Sends both at once, so that one message of a link carries them.
        const sent = ['seen', 'guarded', 'seen', 'guarded'].map((topic) => leader().send(topic));
        const guarded = ['none, guard', 'none, guard'];
        expect(await Promise.all(sent)).toEqual(['none', guarded, 'none', guarded]);
      }
      await leader().send('intercepted');
      await leader().send('intercepted');
      expectNone('interceptor');
    });

    it('hides the context of OpenTelemetry of a caller from its handlers, and keeps it for the caller', async () => {
      context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
      try {
        await context.with(withSpan('caller'), async () => {
          // This app has no SDK that propagates the trace.
          expect(await leader().send('context')).toEqual(['undefined', 'no trace']);
          expect(context.active().getValue(KEY)).toBe('caller');
        });
        expect(await leader().send('context')).toEqual(['undefined', 'no trace']);
      } finally {
        context.disable();
      }
    });

    it('hides the store of a caller from its handlers, and keeps it for the caller', async () => {
      await storage.run('caller', async () => {
        expect(await leader().send('seen')).toBe('none');
        expect(store()).toBe('caller');
        await expect(leader().send('fails')).rejects.toThrow('failed');
        expect(store()).toBe('caller');
        const replies = await cluster().broadcast('seen');
        expect(replies.map(({ value }) => value)).toEqual(pods.apps.map(() => 'none'));
        expect(store()).toBe('caller');
        for await (const { value } of cluster().broadcast('seen')) expect([value, store()]).toEqual(['none', 'caller']);
        expect(await app().get(Handlers).forwarded()).toBe('none');
        expect(store()).toBe('caller');
      });
    });

    it('runs a stream in its own scope, and its source and its loop in the scope of the caller', async () => {
      sourceStores.length = 0;
      await storage.run('caller', async () => {
        for await (const reply of leader().sendStream('stream', source())) {
          expect([reply, store()]).toEqual(['none, guard', 'caller']);
        }
        expect(store()).toBe('caller');
        for (const event of await all(cluster().broadcastStream('stream', source()))) {
          if (event.type === 'reply') expect(event.value).toBe('none, guard');
        }
        expect(store()).toBe('caller');
      });
      expect(sourceStores).toEqual(Array(4).fill('caller'));
    });

    it('notifies the handler of an abort by its caller in the scope of the handler', async () => {
      await storage.run('caller', async () => {
        const abort = new AbortController();
        const given = expect(leader().send('aborted', 0, { signal: abort.signal })).rejects.toThrow('enough');
        await until(() => seen['handler that is aborted'] !== undefined, 'the handler runs');
        abort.abort(new Error('enough'));
        await given;
        await until(() => seen['listener of a signal'] !== undefined, 'the handler is notified');
      });
      expectNone('handler that is aborted', 'listener of a signal');
    });
  });

  it('calls tasks, jobs and listeners of group changes in their own scopes', async () => {
    const stops: (() => void)[] = [];
    storage.run('subscriber', () => {
      for (const app of pods.apps) {
        const subscriptions = [
          app.get(LeaderService).changes$.subscribe(() => note('leader changes$')),
          app.get(ClusterService).changes$.subscribe(() => note('cluster changes$')),
        ];
        const stop = app.get(LeaderService).runWhileLeader(async ({ signal }) => {
          note('runWhileLeader');
          signal.addEventListener('abort', () => note('listener of a leadership'), { once: true });
        });
        stops.push(() => void stop(), ...subscriptions.map((each) => () => each.unsubscribe()));
      }
    });
    await storage.run('resigning', () => pods.leader.get(LeaderService).resign());
    await storage.run('joining', () => pods.start());
    const listeners = ['@OnLeaderChange', '@OnMembersChange', 'leader changes$', 'cluster changes$'];
    const called = [...listeners, '@WhileLeader', 'runWhileLeader', 'listener of a leadership'];
    await until(() => called.every((name) => seen[name] !== undefined), 'all were called');
    await until(() => (seen['@LeaderInterval'] ?? []).length >= 2, 'the job has run twice');
    for (const stop of stops) stop();
    expectNone(...called, '@LeaderInterval');
  });
});
