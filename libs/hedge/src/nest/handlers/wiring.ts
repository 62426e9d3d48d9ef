import { Injectable } from '@nestjs/common';
import { ApplicationConfig, ModuleRef, ModulesContainer } from '@nestjs/core';
import { HedgeError } from '../../common/errors.js';
import { HandlerProbe } from './handler-probe.js';
import { HandlerDiscovery } from './discovery.js';
import type { FoundHandler, HandlerHost } from './discovery.js';
import { HedgeExceptionFilter } from './handler-failure.js';
import { describePattern } from './handler-metadata.js';
import type { HandlerEnhancers } from '../options.js';
import { selfConnect } from './self-connect.js';
import { HedgeStrategy } from './strategy.js';

/** Nest's documented way, which needs no connection by this module. */
const CONNECT_LINE = 'app.connectMicroservice({ strategy: app.get(HedgeStrategy) });';

/** Registers every handler of the app with its guards, or fails the start. */
@Injectable()
export class HandlerWiring {
  constructor(
    private readonly modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    private readonly discovery: HandlerDiscovery,
    private readonly strategy: HedgeStrategy,
  ) {}

  /**
   * @returns false when the app connected the strategy itself and Nest registers its handlers later, at
   *   `startAllMicroservices()` or `listen()`. Then it is called again.
   * @throws HedgeError INVALID_OPTIONS when Nest would not run a handler with its guards.
   */
  async wire(enhancers: HandlerEnhancers): Promise<boolean> {
    const found = this.discovery.handlers();
    const handlers = found.filter(({ pattern }) => pattern.hedge !== 'probe');
    if (!this.#connectedByApp()) {
      const probe = found.filter(({ pattern }) => pattern.hedge === 'probe');
      await this.#connect(handlers, probe, enhancers);
    } else if (handlers.length > 0 && this.#missing(handlers).length === handlers.length) {
      return false;
    } else {
      refuseIdleEnhancers(enhancers);
    }
    const missing = this.#missing(handlers);
    if (missing.length > 0) throw notWired(missing);
    this.strategy.seal();
    return true;
  }

  #connectedByApp(): boolean {
    let connected = false;
    this.modules
      .getRpcTargetRegistry<unknown>()
      .subscribe((target) => void (connected ||= target === this.strategy))
      .unsubscribe();
    return connected;
  }

  async #connect(
    handlers: readonly FoundHandler[],
    probe: readonly FoundHandler[],
    enhancers: HandlerEnhancers,
  ): Promise<void> {
    const live = { modules: this.modules, ref: this.moduleRef };
    try {
      const trial = new HedgeStrategy();
      selfConnect(live, hostsOf(probe), trial, new ApplicationConfig());
      await proveGuarded(trial);
      selfConnect(live, hostsOf(handlers), this.strategy, configOf(enhancers));
    } catch (cause) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `HedgeModule could not connect its handlers to this version of Nest (${String(cause)}). Add to main.ts, before app.init() or app.listen(): ${CONNECT_LINE}`,
        { cause },
      );
    }
  }

  #missing(handlers: readonly FoundHandler[]): FoundHandler[] {
    return handlers.filter(({ pattern }) => this.strategy.route(pattern.hedge, pattern.topic) === undefined);
  }
}

function hostsOf(handlers: readonly FoundHandler[]): HandlerHost[] {
  return [...new Map(handlers.map(({ host }) => [host.wrapper, host])).values()];
}

/** Nest runs filters from the last to the first, so the filters of the app run before ours. */
function configOf({ guards = [], pipes = [], interceptors = [], filters = [] }: HandlerEnhancers): ApplicationConfig {
  const config = new ApplicationConfig();
  config.useGlobalFilters(new HedgeExceptionFilter(), ...filters);
  config.useGlobalGuards(...guards);
  config.useGlobalPipes(...pipes);
  config.useGlobalInterceptors(...interceptors);
  return config;
}

async function proveGuarded(trial: HedgeStrategy): Promise<void> {
  const payload = {};
  const answer = (await trial.route('probe', '')?.(payload, {})) as ReturnType<HandlerProbe['answer']> | undefined;
  if (answer?.payload !== payload || !answer.guarded) throw new Error('a guard of a handler did not run');
}

function refuseIdleEnhancers(enhancers: HandlerEnhancers): void {
  const given = Object.values(enhancers).some((list: readonly unknown[] | undefined) => list && list.length > 0);
  if (!given) return;
  throw new HedgeError(
    'INVALID_OPTIONS',
    'The option "enhancers" has no effect when the app connects HedgeStrategy itself, so its guards would silently not run. Remove the connectMicroservice line, or set them on what it returns: connectMicroservice({ strategy }, { deferInitialization: true }).useGlobalGuards(…).',
  );
}

function notWired(missing: readonly FoundHandler[]): HedgeError {
  const lines = missing.map(({ pattern, place, host }) => `${describePattern(pattern)} ${place} (a ${host.role})`);
  return new HedgeError(
    'INVALID_OPTIONS',
    `These handlers are not wired: ${lines.join(', ')}. An app that connects HedgeStrategy itself wires controllers only: move them to a controller, or remove that line from main.ts. If there is no such line, another decorator on the method replaced its pattern: give each transport its own method.`,
  );
}
