import { Inject, Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown, OnModuleDestroy, Type } from '@nestjs/common';
import { LazyModuleLoader, ModuleRef, ModulesContainer } from '@nestjs/core';
import { HedgeError } from '../common/errors.js';
import { HandlerDiscovery } from './handlers/discovery.js';
import { registerLifecycleCallbacks } from './handlers/lifecycle-callbacks.js';
import { HedgePod } from '../pod/hedge-pod.js';
import { HedgeStrategy } from './handlers/strategy.js';
import { HandlerWiring } from './handlers/wiring.js';
import { HEDGE_SETTINGS, type HedgeSettings } from './options.js';
import { timeoutWarning } from '../pod/settings.js';

/**
 * Nest sorts the hooks of modules by their distance from the root module: the farthest module starts first and stops last.
 * These distances are beyond those of all other modules, also of global ones.
 */
const BEFORE_ALL = { startsFirst: Number.POSITIVE_INFINITY, startsLast: -Number.MAX_VALUE };

/**
 * The start and stop of this pod, in an order that does not depend on where HedgeModule is imported:
 *
 * - The pod starts after the `onApplicationBootstrap` hooks of all modules, or with the first of them that calls a
 *   service (`StartGate`).
 * - Before the `onModuleDestroy` hook of any other module, it drains leader work and broadcasts, and hands over leadership.
 * - It closes after the `onApplicationShutdown` hooks of all modules, which can use the services until then.
 *
 * Nest may call each hook more than once.
 */
@Injectable()
export class HedgeStart {
  #starting: Promise<void> | undefined;

  constructor(
    @Inject(HEDGE_SETTINGS) private readonly settings: HedgeSettings,
    private readonly modules: ModulesContainer,
    private readonly pod: HedgePod,
    private readonly strategy: HedgeStrategy,
    private readonly wiring: HandlerWiring,
    private readonly discovery: HandlerDiscovery,
    private readonly lazy: LazyModuleLoader,
  ) {}

  /** Allows the start of the pod. */
  allow(): void {
    this.strategy.onListen(() => this.start());
    this.pod.gate.startWith(() => this.start());
  }

  /** Starts the pod once. If the app registers its handlers later, it does nothing. Then call it again. */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    this.#refuseSecondModule();
    const { mode, enhancers } = this.settings;
    if (mode === 'off') return;
    this.discovery.refuseEnhancers();
    if (mode === 'member' && !(await this.wiring.wire(enhancers))) {
      this.#starting = undefined;
      return;
    }
    this.#refuseLateHandlers();
    const { leader, cluster, logger } = this.pod;
    const drainNotices = registerLifecycleCallbacks(this.discovery.notices(), leader, cluster, logger);
    this.pod.awaitAtStop(drainNotices);
    this.pod.jobs.start(this.discovery.jobs());
    const warning = timeoutWarning(this.settings);
    if (warning !== undefined) logger.warn(warning);
    await this.pod.start();
  }

  /** From now on, a lazy load of a module fails if the module has decorated methods, which this pod would never call. */
  #refuseLateHandlers(): void {
    const known = new Set(this.modules.keys());
    const load = this.lazy.load.bind(this.lazy);
    this.lazy.load = async (...args) => {
      const module = await load(...args);
      const late = this.discovery.decoratedIn([...this.modules.keys()].filter((key) => !known.has(key)));
      if (late.length === 0) return module;
      throw new HedgeError(
        'INVALID_OPTIONS',
        `${late.join(', ')} would never be called, because the module was loaded lazily, after this pod had started. Import the module when the app starts, or move the methods to a module that is.`,
      );
    };
  }

  #refuseSecondModule(): void {
    const found = [...this.modules.values()].filter((module) => module.providers.has(HedgeLifecycle));
    if (found.length < 2) return;
    throw new HedgeError(
      'INVALID_OPTIONS',
      'HedgeModule is imported twice with options of its own, and an app is one member of one group. Import it once; its services are global.',
    );
  }
}

/** A provider of the core module. Its hooks run first at the start and last at the stop. */
@Injectable()
export class OuterLifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    modules: ModulesContainer,
    private readonly pod: HedgePod,
    private readonly hedge: HedgeStart,
  ) {
    place(modules, OuterLifecycle, BEFORE_ALL.startsFirst);
  }

  onApplicationBootstrap(): void {
    this.hedge.allow();
  }

  onApplicationShutdown(): Promise<void> {
    return this.pod.close();
  }
}

/** A provider of `HedgeModule`. Its hooks run last at the start and first at the stop. */
@Injectable()
export class HedgeLifecycle implements OnApplicationBootstrap, OnModuleDestroy {
  constructor(
    modules: ModulesContainer,
    private readonly module: ModuleRef,
  ) {
    place(modules, HedgeLifecycle, BEFORE_ALL.startsLast);
  }

  onApplicationBootstrap(): Promise<void> {
    return internal(this.module, HedgeStart).start();
  }

  onModuleDestroy(): Promise<void> {
    return internal(this.module, HedgePod).leave();
  }
}

/** Returns a provider that the core module does not export, so that apps do not see it. Call it after Nest made the app. */
export function internal<Part>(module: ModuleRef, type: Type<Part>): Part {
  return module.get(type, { strict: false });
}

/**
 * Sets the place of the provider's module in the order of hooks. Call it from a constructor. By then Nest has computed all
 * distances, and it sorts by them before the first hook.
 */
function place(modules: ModulesContainer, provider: unknown, distance: number): void {
  for (const module of modules.values()) if (module.providers.has(provider as never)) module.distance = distance;
}
