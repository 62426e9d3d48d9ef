import { Injectable, Logger, Module } from '@nestjs/common';
import type { DynamicModule, INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  ClusterService,
  HedgeModule,
  HedgeReadiness,
  HedgeStrategy,
  JobsService,
  KvStore,
  LeaderService,
  LockService,
  SemaphoreService,
  SpillStore,
  type HedgeOptions,
  type HedgeOptionsFactory,
} from 'nestjs-hedge';
import { HedgeHealthIndicator } from 'nestjs-hedge/health';
import { memory } from 'nestjs-hedge/memory';
import { HedgeTestingModule } from 'nestjs-hedge/testing';
import { HedgeStart } from '../../libs/hedge/src/nest/lifecycle.js';
import { HedgePod } from '../../libs/hedge/src/pod/hedge-pod.js';

Logger.overrideLogger(false);

const SERVICES = [
  LeaderService,
  ClusterService,
  KvStore,
  LockService,
  SemaphoreService,
  JobsService,
  SpillStore,
  HedgeReadiness,
  HedgeStrategy,
] as const;

function options(): HedgeOptions {
  return { group: 'configured', address: '127.0.0.1:0', timing: 'local', backend: memory() };
}

let app: INestApplicationContext | undefined;

afterEach(async () => {
  await app?.close();
  app = undefined;
});

async function start(...imports: (DynamicModule | Type)[]): Promise<INestApplicationContext> {
  @Module({ imports })
  class Root {}
  app = await NestFactory.createApplicationContext(Root, { abortOnError: false, logger: false });
  return app;
}

/** A feature module that injects a provider, and imports only the given modules. */
function feature(type: Type, ...imports: DynamicModule[]): Type {
  @Module({ imports, providers: [{ provide: 'injected', inject: [type], useFactory: (it: unknown) => it }] })
  class Feature {}
  return Feature;
}

@Injectable()
class Settings {
  readonly options = options();
}

@Injectable()
class OptionsFactory implements HedgeOptionsFactory {
  constructor(private readonly settings: Settings) {}

  createHedgeOptions(): HedgeOptions {
    return this.settings.options;
  }
}

@Module({ providers: [Settings, OptionsFactory], exports: [Settings, OptionsFactory] })
class SettingsModule {}

function useFactory(settings: Settings): Promise<HedgeOptions> {
  return Promise.resolve(settings.options);
}

describe('HedgeModule.forRootAsync', () => {
  it.each([
    ['imports, inject and useFactory', () => ({ imports: [SettingsModule], inject: [Settings], useFactory })],
    ['extraProviders, inject and useFactory', () => ({ extraProviders: [Settings], inject: [Settings], useFactory })],
    ['imports and useClass', () => ({ imports: [SettingsModule], useClass: OptionsFactory })],
    ['extraProviders and useClass', () => ({ extraProviders: [Settings], useClass: OptionsFactory })],
    ['imports and useExisting', () => ({ imports: [SettingsModule], useExisting: OptionsFactory })],
    [
      'extraProviders and useExisting',
      () => ({ extraProviders: [Settings, OptionsFactory], useExisting: OptionsFactory }),
    ],
  ])('starts a pod with %s, whose services a feature module can inject', async (_, given) => {
    const started = await start(HedgeModule.forRootAsync(given()), feature(LockService));
    expect(await started.get<LockService>('injected', { strict: false }).use('l', ({ isValid }) => isValid())).toBe(
      true,
    );
  });

  it('hides the extra providers from the app', async () => {
    const hedge = HedgeModule.forRootAsync({ extraProviders: [Settings], inject: [Settings], useFactory });
    await expect(start(hedge, feature(Settings))).rejects.toThrow("can't resolve dependencies");
  });
});

describe('HedgeModule with isGlobal: false', () => {
  const local = { isGlobal: false };

  it.each([
    ['forRoot', () => HedgeModule.forRoot({ ...options(), ...local })],
    ['forRootAsync', () => HedgeModule.forRootAsync({ ...local, useFactory: options })],
    ['HedgeTestingModule', () => HedgeTestingModule.forRoot(local)],
  ])('provides its services only to modules that import it (%s)', async (_, make) => {
    await expect(start(make(), feature(KvStore))).rejects.toThrow("can't resolve dependencies");
    const hedge = make();
    const started = await start(hedge, feature(KvStore, hedge));
    const kv = started.get<KvStore>('injected', { strict: false });
    await kv.put('k', 'v');
    expect((await kv.get('k'))?.value).toBe('v');
  });

  it('serves a health indicator that a module lists among its providers', async () => {
    const hedge = HedgeModule.forRoot({ ...options(), ...local });
    @Module({ imports: [hedge, TerminusModule], providers: [HedgeHealthIndicator] })
    class Health {}
    const started = await start(hedge, Health);
    expect(started.get(HedgeHealthIndicator, { strict: false }).isHealthy('hedge')).toHaveProperty('hedge');
  });
});

describe('HedgeModule', () => {
  it.each(SERVICES.map((service) => [service.name, service] as const))('exports %s', async (_, service) => {
    const started = await start(HedgeModule.forRoot(options()), feature(service as Type));
    expect(started.get('injected', { strict: false })).toBeInstanceOf(service);
  });

  it.each([HedgePod, HedgeStart].map((part) => [part.name, part] as const))('does not export %s', async (_, part) => {
    await expect(start(HedgeModule.forRoot(options()), feature(part as Type))).rejects.toThrow(
      "can't resolve dependencies",
    );
  });
});

describe('a default timeout', () => {
  it.each([
    ['wan', undefined, 1],
    ['wan', 20_000, 1],
    ['wan', 20_001, 0],
    ['lan', undefined, 0],
    ['local', undefined, 0],
  ] as const)('with the timing %s and %p gives %p warnings at the start', async (timing, defaultTimeoutMs, count) => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    try {
      await start(HedgeModule.forRoot({ ...options(), timing, defaultTimeoutMs }));
      const lines = warn.mock.calls.map(([line]) => String(line));
      expect(
        lines.filter((line) => /^`defaultTimeoutMs` is \d+, but `timing\.leaseMs` is 20000: /.test(line)),
      ).toHaveLength(count);
      expect(lines).toHaveLength(count);
    } finally {
      warn.mockRestore();
    }
  });
});
