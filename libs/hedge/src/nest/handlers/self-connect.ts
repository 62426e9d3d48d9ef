import { ApplicationConfig, GraphInspector, ModuleRef, ModulesContainer, NestContainer } from '@nestjs/core';
import { NestMicroservice } from '@nestjs/microservices';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { HandlerHost } from './discovery.js';
import type { HedgeStrategy } from './strategy.js';

/**
 * Registers the handlers on the strategy by Nest's rpc pipeline, as `app.connectMicroservice` does, but from inside the app
 * and for providers, too. Nest exports the classes that are used here, but does not document them. So only this file uses
 * them, and `HandlerProbe` proves at every start that guards and injection work.
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

/** A view of the live modules in which exactly the given classes are controllers. */
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
    // The constructor of the parent calls this before the fields of this class exist.
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
