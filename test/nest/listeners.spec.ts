import { Controller, Logger } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { describe, expect, it } from '@jest/globals';
import { type Observable, config, map } from 'rxjs';
import {
  ClusterService,
  HedgeContext,
  LeaderService,
  LockService,
  OnLeaderMessage,
  SemaphoreService,
} from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

/** Jest fails a test on an uncaught error, where Node ends the process. */
describe('a listener that throws does not end the process', () => {
  it('as a subscriber of changes$, also behind operators and when it is asynchronous', async () => {
    const unhandled: unknown[] = [];
    config.onUnhandledError = (error) => void unhandled.push(error);
    try {
      const app = await new Pods().start();
      const seen: string[] = [];
      for (const [name, changes$] of [
        ['leader', app.get(LeaderService).changes$],
        ['cluster', app.get(ClusterService).changes$],
      ] as [string, Observable<unknown>][]) {
        const wrong = (): never => {
          seen.push(name);
          throw new Error(`${name} threw`);
        };
        changes$.subscribe(wrong);
        changes$.subscribe({ next: wrong });
        changes$.pipe(map(String)).subscribe(wrong);
        changes$.pipe(map(wrong)).subscribe(() => undefined);
        const rejecting: () => unknown = async () => wrong();
        changes$.subscribe(rejecting);
      }
      await until(() => seen.length >= 10, 'all subscribers were called');
      await app.close();
      await new Promise((resolve) => setTimeout(resolve, 10));
      expect(unhandled).toEqual([]);
    } finally {
      config.onUnhandledError = null;
    }
  });

  it('as a listener of any signal that the app receives, and later listeners still run', async () => {
    const aborted: string[] = [];
    const removed = (): void => void aborted.push('removed');
    const listen = (name: string, signal: AbortSignal): void => {
      signal.addEventListener('abort', removed);
      signal.addEventListener('abort', () => {
        throw new Error(`${name} threw`);
      });
      const rejecting: () => unknown = async () => {
        throw new Error(`${name} rejected`);
      };
      signal.addEventListener('abort', rejecting);
      Object.assign(signal, {
        onabort: () => {
          throw new Error(`${name} threw`);
        },
      });
      signal.addEventListener('abort', { handleEvent: () => void aborted.push(name) }, { once: true });
      signal.removeEventListener('abort', removed);
    };
    const listening: string[] = [];
    @Controller()
    class Slow {
      @OnLeaderMessage('slow') slow(@Ctx() context: HedgeContext) {
        listen('message', context.signal);
        listening.push('message');
        return new Promise((resolve) => context.signal.addEventListener('abort', resolve));
      }
    }
    const app = await new Pods({ controllers: [Slow] }).start({ shutdown: { drainMs: 100 } });
    app.get(LeaderService).runWhileLeader(({ signal }) => {
      listen('task', signal);
      listening.push('task');
      return new Promise((resolve) => signal.addEventListener('abort', resolve));
    });
    listen('lock', (await app.get(LockService).acquire('l')).signal);
    listen('permit', (await app.get(SemaphoreService).get('s', { limit: 1 }).acquire()).signal);
    const reply = app
      .get(LeaderService)
      .send('slow')
      .catch(() => undefined);
    await until(() => listening.length === 2, 'the handler and the task run');
    await app.close();
    await reply;
    expect(aborted.sort()).toEqual(['lock', 'message', 'permit', 'task']);
  });
});
