import { Controller, Get, Injectable, Logger, Module, UseGuards, UseInterceptors } from '@nestjs/common';
import type { CallHandler, CanActivate, INestApplicationContext, NestInterceptor, Type } from '@nestjs/common';
import { LazyModuleLoader, NestFactory } from '@nestjs/core';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { of } from 'rxjs';
import {
  ClusterService,
  LeaderCron,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  OnBroadcast,
  OnLeaderChange,
  OnLeaderMessage,
  OnLeaderStream,
  OnMembersChange,
  WhileLeader,
  WithLock,
} from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const opened: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
});

async function start(parts: { controllers?: Type[]; providers?: Type[]; imports?: Type[] }) {
  const app = await new Pods(parts).start();
  opened.push(app);
  return app;
}

async function http(controller: Type): Promise<INestApplicationContext> {
  const app = await NestFactory.create(new Pods({ controllers: [controller] }).module(), {
    abortOnError: false,
    logger: false,
  });
  opened.push(app);
  return app.init();
}

const decorators: readonly (readonly [string, MethodDecorator])[] = [
  ["@OnLeaderMessage('t')", OnLeaderMessage('t')],
  ["@OnBroadcast('t')", OnBroadcast('t')],
  ["@OnLeaderStream('t')", OnLeaderStream('t')],
  ['@OnLeaderChange()', OnLeaderChange()],
  ['@OnMembersChange()', OnMembersChange()],
  ['@WhileLeader()', WhileLeader()],
  ['@LeaderInterval', LeaderInterval(1_000)],
  ['@LeaderCron', LeaderCron('@daily')],
];

describe('the start fails and names the method', () => {
  it.each(decorators)('for %s on a class that is a guard only', async (name, decorator) => {
    @Injectable()
    class Guard implements CanActivate {
      canActivate() {
        return true;
      }
      @decorator run() {}
    }
    @UseGuards(Guard)
    @Controller()
    class Guarded {
      @Get() get() {}
    }
    await expect(http(Guarded)).rejects.toThrow(`${name} Guard.run would never be called`);
  });

  it('for a class that is an interceptor only, but not for one that is also a provider', async () => {
    @Injectable()
    class Interceptor implements NestInterceptor {
      static seen = 0;
      intercept(_: unknown, next: CallHandler) {
        return next.handle();
      }
      @OnBroadcast('t') run() {
        Interceptor.seen += 1;
      }
    }
    @UseInterceptors(Interceptor)
    @Controller()
    class Intercepted {
      @OnLeaderMessage('m') run() {}
    }
    await expect(start({ controllers: [Intercepted] })).rejects.toThrow("@OnBroadcast('t') Interceptor.run");
    const app = await start({ controllers: [Intercepted], providers: [Interceptor] });
    await until(() => app.get(ClusterService).members().length === 1, 'the pod is in the view');
    await app.get(ClusterService).broadcast('t');
    expect(Interceptor.seen).toBe(1);
  });
});

describe('a decorator refuses', () => {
  const all = [...decorators, ['@LeaderOnly', LeaderOnly()], ['@WithLock', WithLock('l')]] as [
    string,
    MethodDecorator,
  ][];

  it.each(all)('a static method: %s', (_, decorator) => {
    expect(() => {
      class Wrong {
        @decorator static async run() {}
      }
      return Wrong;
    }).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringContaining('Wrong.run') }));
  });

  it.each(all.filter(([name]) => name !== '@WithLock'))('a method named by a symbol: %s', (_, decorator) => {
    const name = Symbol('run');
    expect(() => {
      class Wrong {
        @decorator async [name]() {}
      }
      return Wrong;
    }).toThrow('Wrong.Symbol(run) cannot be @');
  });

  it.each(all.filter(([name]) => name !== '@WithLock'))('a getter: %s', (_, decorator) => {
    expect(() => {
      class Wrong {
        @decorator get run() {
          return 1;
        }
      }
      return Wrong;
    }).toThrow('Wrong.run cannot be @');
  });
});

const called = decorators.filter(([name]) => /Change|While|Interval|Cron/.test(name));

async function* lines() {}

describe('a method whose return value has no reader', () => {
  it.each(called)('cannot be a generator: %s', (name, decorator) => {
    expect(() => {
      class Wrong {
        @decorator async *run() {}
      }
      return Wrong;
    }).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringMatching(/^Wrong\.run cannot be @.*without the asterisk/),
      }),
    );
    expect(() => {
      class Wrong {
        @decorator *run() {}
      }
      return Wrong;
    }).toThrow(`Wrong.run cannot be ${name}`);
  });

  it.each([
    ['a generator', lines, 'Lazy.run returned a generator'],
    ['a promise of a generator', async () => lines(), 'Lazy.run returned a generator'],
    ['an Observable', () => of(1), 'Lazy.run returned an Observable'],
  ])('logs an error when it returns %s', async (_, make, message) => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    @Injectable()
    class Lazy {
      @OnMembersChange()
      @OnLeaderChange()
      @WhileLeader()
      @LeaderInterval(1_000)
      run() {
        return make();
      }
    }
    await start({ providers: [Lazy] });
    // The listeners of members and of the leader, the task and the job.
    const seen = (start: string) =>
      errors.mock.calls.some(([line]) => String(line).startsWith(start) && String(line).includes(message));
    await until(
      () => ['Lazy.run failed', 'Leader task Lazy.run failed', 'Job Lazy.run of'].every(seen),
      'all are logged',
    );
    errors.mockRestore();
  });

  it('cannot be a generator function passed to runWhileLeader', async () => {
    const app = await start({});
    expect(() => app.get(LeaderService).runWhileLeader(lines)).toThrow('The leader task lines is a generator function');
  });
});

describe('a lazily loaded module', () => {
  it.each(decorators)('fails to load after the start when it has %s', async (name, decorator) => {
    @Injectable()
    class Late {
      @decorator run() {}
    }
    @Module({ providers: [Late] })
    class LateModule {}
    const app = await start({});
    await expect(app.get(LazyModuleLoader).load(() => LateModule)).rejects.toThrow(
      `${name} Late.run would never be called`,
    );
  });

  it('loads when it has no decorated method', async () => {
    @Module({ providers: [{ provide: 'value', useValue: 7 }] })
    class PlainModule {}
    const app = await start({});
    const module = await app.get(LazyModuleLoader).load(() => PlainModule);
    expect(module.get('value')).toBe(7);
  });

  it('runs its handlers when it is loaded before the start', async () => {
    @Injectable()
    class Early {
      @OnLeaderMessage('early') run() {
        return 'ran';
      }
    }
    @Module({ providers: [Early] })
    class EarlyModule {}
    @Injectable()
    class Loader {
      constructor(private readonly lazy: LazyModuleLoader) {}
      async onModuleInit() {
        await this.lazy.load(() => EarlyModule);
      }
    }
    const app = await start({ providers: [Loader] });
    expect(await app.get(LeaderService).send('early')).toBe('ran');
  });
});

/** Replaces the method, and keeps none of its metadata. */
function Wrapped(seen: string[]): MethodDecorator {
  return (_target, key, descriptor) => {
    const method = descriptor.value as unknown as (...args: unknown[]) => unknown;
    (descriptor as PropertyDescriptor).value = function (this: unknown, ...args: unknown[]) {
      seen.push(String(key));
      return method.apply(this, args);
    };
  };
}

describe('a method that another decorator has replaced', () => {
  it('runs with the effect of that decorator above any decorator of Hedge', async () => {
    const seen: string[] = [];
    const ran: string[] = [];
    @Injectable()
    class Refusing implements CanActivate {
      canActivate() {
        return false;
      }
    }
    @Injectable()
    class Jobs {
      @Wrapped(seen)
      @LeaderInterval(1_000)
      job() {
        ran.push('job');
      }

      @Wrapped(seen)
      @WhileLeader()
      task() {
        ran.push('task');
      }

      @OnLeaderMessage('above')
      @Wrapped(seen)
      @OnBroadcast('below')
      handler() {
        return 'handled';
      }

      @UseGuards(Refusing)
      @Wrapped(seen)
      @OnLeaderMessage('guarded')
      guarded() {
        return 'not reached';
      }

      @UseGuards(Refusing)
      @Wrapped(seen)
      @LeaderOnly({ forward: true })
      async guardedAndForwarded() {
        return 'not reached';
      }

      @Wrapped(seen)
      @OnLeaderStream('stream')
      async *stream() {
        yield 1;
        yield 2;
      }

      @Wrapped(seen)
      @LeaderOnly({ forward: true })
      async forwarded(a: number) {
        return a + 1;
      }
    }
    const app = await start({ providers: [Jobs] });
    const leader = app.get(LeaderService);
    expect(await leader.send('above')).toBe('handled');
    await until(() => app.get(ClusterService).members().length === 1, 'the pod is in the view');
    expect(await app.get(ClusterService).broadcast('below')).toMatchObject([{ value: 'handled' }]);
    await expect(leader.send('guarded')).rejects.toThrow('Forbidden');
    await expect(app.get(Jobs).guardedAndForwarded()).rejects.toThrow('Forbidden');
    const streamed: unknown[] = [];
    for await (const reply of leader.sendStream('stream', [])) streamed.push(reply);
    expect(streamed).toEqual([1, 2]);
    expect(await app.get(Jobs).forwarded(1)).toBe(2);
    await until(() => ran.includes('job') && ran.includes('task'), 'job and task have run');
    expect([...new Set(seen)].sort()).toEqual(['forwarded', 'guardedAndForwarded', 'handler', 'job', 'stream', 'task']);
  });

  it.each([
    ['a message', OnLeaderMessage('guarded')],
    ['forwarded calls', LeaderOnly({ forward: true })],
  ])(
    'fails the start when guards of %s stand below that decorator, where Nest does not find them',
    async (_, hedge) => {
      @Injectable()
      class Guard implements CanActivate {
        canActivate() {
          return true;
        }
      }
      @Injectable()
      class Jobs {
        @Wrapped([])
        @UseGuards(Guard)
        @hedge
        async guarded() {}
      }
      await expect(start({ providers: [Jobs] })).rejects.toThrow('has guards');
    },
  );
});
