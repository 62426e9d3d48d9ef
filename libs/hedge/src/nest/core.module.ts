import { ConfigurableModuleBuilder, Module } from '@nestjs/common';
import type { DynamicModule, Provider } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { ClusterService } from '../membership/cluster.service.js';
import { Hidden } from '../common/validation/hidden.js';
import { JobsService } from '../jobs/jobs.service.js';
import { KvStore } from '../kv/kv.store.js';
import { LeaderService } from '../election/leader.service.js';
import { LockService } from '../locks/lock.service.js';
import { SemaphoreService } from '../semaphores/semaphore.service.js';
import { SpillStore } from '../spill/service/spill.store.js';
import { HandlerProbe, HandlerProbeController } from './handlers/handler-probe.js';
import { HandlerDiscovery } from './handlers/discovery.js';
import { HedgeStart, OuterLifecycle } from './lifecycle.js';
import { HEDGE_SETTINGS, type HedgeOptions, type HedgeSettings } from './options.js';
import { nestLogger } from './logger.js';
import { HedgeReadiness } from '../pod/readiness.js';
import type { HandlersFactory } from '../pod/handlers.js';
import { HedgePod } from '../pod/hedge-pod.js';
import { HandlerDispatch } from './handlers/dispatch.js';
import { StreamDispatch } from './handlers/stream-dispatch.js';
import { HedgeStrategy } from './handlers/strategy.js';
import { grpcTransport, type TransportFactory } from '../pod/transport-factory.js';
import { resolveOptions } from './validate.js';
import type { HandlerKind } from './handlers/handler-metadata.js';
import type { HandledTopics } from '../inspection/pod-state.js';
import { InspectionService } from '../inspection/inspection.service.js';
import { RESERVED_TOPICS } from '../messaging/topics.js';
import { HandlerWiring } from './handlers/wiring.js';

/** Options of the module itself. They stand next to the other options, and a factory does not return them. */
export interface HedgeModuleExtras {
  /**
   * Whether every module of the app can inject the services. Default: true. With false, only modules that import this
   * module, or a module that exports it, can inject them. To import it in several modules, keep it in a constant.
   */
  readonly isGlobal?: boolean;
}

export interface HedgeAsyncExtras {
  /** Providers that only the factory, or the options class, can inject. */
  readonly extraProviders?: Provider[];
}

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<HedgeOptions>()
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createHedgeOptions')
    .build();

/** The token of the transport factory. `HedgeTestingModule` replaces it by an in-memory network. */
export const TRANSPORT_FACTORY = Symbol('nestjs-hedge:transport-factory');

/** Runs messages and streams through Nest's pipeline. */
function handlersOf(strategy: HedgeStrategy): HandlersFactory {
  return ({ codec, address, logger }) => {
    const dispatch = new HandlerDispatch(strategy, codec, address, logger);
    return {
      leaderMessage: (request) => dispatch.run('leader', request),
      broadcast: (request) => dispatch.run('broadcast', request),
      leaderStream: new StreamDispatch(strategy, 'leader-stream', address, logger),
      broadcastStream: new StreamDispatch(strategy, 'broadcast-stream', address, logger),
      topics: () => topicsOf(strategy),
    };
  };
}

/** The topics of the app, without those of this library. */
function topicsOf(strategy: HedgeStrategy): HandledTopics {
  const of = (kind: HandlerKind): string[] =>
    strategy.topics(kind).filter((topic) => !topic.startsWith(RESERVED_TOPICS));
  return {
    leader: of('leader'),
    broadcast: of('broadcast'),
    leaderStream: of('leader-stream'),
    broadcastStream: of('broadcast-stream'),
  };
}

/**
 * Provides the services and their parts. `HedgeModule` starts and stops them. There are two modules, because their hooks
 * run at opposite ends of the order of hooks.
 */
@Module({
  imports: [DiscoveryModule],
  providers: [
    { provide: TRANSPORT_FACTORY, useValue: grpcTransport },
    {
      provide: HEDGE_SETTINGS,
      inject: [MODULE_OPTIONS_TOKEN],
      useFactory: (options: Hidden<HedgeOptions>) => resolveOptions(options.reveal()),
    },
    {
      provide: HedgePod,
      inject: [HEDGE_SETTINGS, TRANSPORT_FACTORY, HedgeStrategy],
      useFactory: (settings: HedgeSettings, makeTransport: TransportFactory, strategy: HedgeStrategy) =>
        new HedgePod({ settings, makeTransport, makeHandlers: handlersOf(strategy), makeLogger: nestLogger }),
    },
    { provide: LeaderService, inject: [HedgePod], useFactory: ({ leader }: HedgePod) => leader },
    { provide: ClusterService, inject: [HedgePod], useFactory: ({ cluster }: HedgePod) => cluster },
    { provide: KvStore, inject: [HedgePod], useFactory: ({ kv }: HedgePod) => kv },
    { provide: JobsService, inject: [HedgePod], useFactory: ({ jobs }: HedgePod) => jobs },
    { provide: SemaphoreService, inject: [HedgePod], useFactory: ({ semaphores }: HedgePod) => semaphores },
    { provide: LockService, inject: [HedgePod], useFactory: ({ locks }: HedgePod) => locks },
    { provide: SpillStore, inject: [HedgePod], useFactory: ({ spill }: HedgePod) => spill },
    { provide: HedgeReadiness, inject: [HedgePod], useFactory: ({ readiness }: HedgePod) => readiness },
    { provide: InspectionService, inject: [HedgePod], useFactory: ({ inspection }: HedgePod) => inspection },
    HedgeStrategy,
    HandlerDiscovery,
    HandlerWiring,
    HedgeStart,
    OuterLifecycle,
    HandlerProbe,
    HandlerProbeController,
  ],
  exports: [
    LeaderService,
    ClusterService,
    KvStore,
    LockService,
    SemaphoreService,
    JobsService,
    SpillStore,
    HedgeStrategy,
    HedgeReadiness,
    InspectionService,
  ],
})
export class HedgeCoreModule extends ConfigurableModuleClass {
  static override forRoot({ isGlobal = true, ...options }: typeof OPTIONS_TYPE & HedgeModuleExtras): DynamicModule {
    return { ...withHiddenOptions(super.forRoot(options)), global: isGlobal };
  }

  static override forRootAsync({
    isGlobal = true,
    extraProviders = [],
    ...options
  }: typeof ASYNC_OPTIONS_TYPE & HedgeModuleExtras & HedgeAsyncExtras): DynamicModule {
    const { providers = [], ...module } = withHiddenOptions(super.forRootAsync(options));
    return { ...module, providers: [...providers, ...extraProviders], global: isGlobal };
  }
}

/** Hides the options, because they contain secrets, and Nest stores them where an inspection of the app shows them. */
function withHiddenOptions(module: DynamicModule): DynamicModule {
  return { ...module, providers: (module.providers ?? []).map(hideOptions) };
}

function hideOptions(provider: Provider): Provider {
  if (!('provide' in provider) || provider.provide !== MODULE_OPTIONS_TOKEN) return provider;
  if ('useValue' in provider) return { ...provider, useValue: new Hidden<unknown>(provider.useValue) };
  if (!('useFactory' in provider)) return provider;
  const { useFactory } = provider as { useFactory: (...args: unknown[]) => unknown };
  return { ...provider, useFactory: async (...args: unknown[]) => new Hidden(await useFactory(...args)) };
}
