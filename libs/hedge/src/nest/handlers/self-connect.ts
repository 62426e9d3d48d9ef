import { ApplicationConfig, GraphInspector, ModuleRef, ModulesContainer, NestContainer } from '@nestjs/core';
import { NestMicroservice } from '@nestjs/microservices';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { HandlerHost } from './discovery.js';
import type { HedgeStrategy } from './strategy.js';

/**
 * Does for the handlers what `app.connectMicroservice` does, from inside the app and for providers too: has
 * Nest's own rpc pipeline register them on the strategy. The classes used here are exported by Nest but not
 * documented, which is why only this file uses them, and why `HandlerProbe` proves at every start that
 * guards and injection still work.
 */
export function selfConnect(
  live: { readonly modules: ModulesContainer; readonly ref: ModuleRef },
  hosts: readonly HandlerHost[],
  strategy: HedgeStrategy,
  config: ApplicationConfig,
): void {
  const graph = new HandlerGraph(live.modules, live.ref, hosts, config);
  const options = { strategy } as MicroserviceOptions;
  new NestMicroservice(graph, options, new GraphInspector(graph), config).registerListeners();
}

/** The live modules, seen so that exactly the given classes are their controllers. */
class HandlerGraph extends NestContainer {
  readonly #shown = new ModulesContainer();

  constructor(
    modules: ModulesContainer,
    private readonly ref: ModuleRef,
    hosts: readonly HandlerHost[],
    config: ApplicationConfig,
  ) {
    super(config);
    for (const [key, module] of modules) {
      const wrappers = hosts.filter(({ moduleKey }) => moduleKey === key).map(({ wrapper }) => wrapper);
      const controllers = new Map(wrappers.map((wrapper) => [wrapper.token, wrapper]));
      this.#shown.set(key, Object.create(module, { controllers: { value: controllers } }) as typeof module);
    }
  }

  override getModules(): ModulesContainer {
    // Also asked by the parent's constructor, before this class's fields exist.
    return #shown in this ? this.#shown : super.getModules();
  }

  override getModuleByKey(key: string): ReturnType<NestContainer['getModuleByKey']> {
    return this.getModules().get(key);
  }

  override registerRequestProvider<T>(
    request: T,
    contextId: Parameters<ModuleRef['registerRequestByContextId']>[1],
  ): void {
    this.ref.registerRequestByContextId(request, contextId);
  }
}
