import { Injectable } from '@nestjs/common';
import { MetadataScanner, ModulesContainer } from '@nestjs/core';
import { HedgeError } from '../../common/errors.js';
import { isForwarded } from '../../messaging/topics.js';
import type { JobMethod } from '../../jobs/job.js';
import { losesEnhancers, refuseUnread, restoreAllMetadata } from '../decorators/decorated-method.js';
import { describeNotice, describePattern, handlersOf, noticesOf } from './handler-metadata.js';
import type { HandlerPattern, NoticeKind } from './handler-metadata.js';
import { jobsOf } from '../decorators/job-decorators.js';

type Wrapper =
  NonNullable<ReturnType<ModulesContainer['get']>> extends { providers: Map<unknown, infer W> } ? W : never;

/** A class in a module that has handlers. */
export interface HandlerHost {
  readonly wrapper: Wrapper;
  readonly moduleKey: string;
  readonly role: 'controller' | 'provider';
}

export interface FoundHandler {
  readonly pattern: HandlerPattern;
  readonly host: HandlerHost;
  /** `OrdersController.price`, for messages. */
  readonly place: string;
}

export interface FoundLifecycleCallback {
  readonly kind: NoticeKind;
  readonly place: string;
  call(argument: unknown): unknown;
}

interface FoundMethod<Mark> {
  readonly mark: Mark;
  readonly place: string;
  call(argument: unknown): unknown;
}

/** Finds the decorated methods of all controllers and providers of the app. */
@Injectable()
export class HandlerDiscovery {
  constructor(
    private readonly modules: ModulesContainer,
    private readonly scanner: MetadataScanner,
  ) {}

  /**
   * @throws HedgeError INVALID_OPTIONS for a handler that Nest's pipeline cannot run, and for two handlers
   *   of one topic, with all of them named.
   */
  handlers(): readonly FoundHandler[] {
    const found: FoundHandler[] = [];
    const left: { place: string; wrapper: Wrapper; problem: string }[] = [];
    for (const host of this.#hosts()) {
      const { wrapper } = host;
      for (const { name, method, prototype } of this.#methods(wrapper)) {
        const patterns = handlersOf(method);
        if (patterns.length === 0) continue;
        const place = `${classOf(wrapper)}.${name}`;
        const problem = unwirable(wrapper) ?? unguarded(prototype, name);
        if (problem === undefined) found.push(...patterns.map((pattern) => ({ pattern, host, place })));
        else left.push({ place, wrapper, problem });
      }
    }
    // An instance whose handlers are wired under its own class may have another token, too.
    const wired = new Set<unknown>(found.map(({ host }) => host.wrapper.instance));
    const problems = left
      .filter(({ wrapper }) => !wired.has(wrapper.instance))
      .map(({ place, problem }) => `${place} ${problem}`);
    problems.push(...this.#duplicates(found));
    if (problems.length > 0) throw new HedgeError('INVALID_OPTIONS', problems.join('\n'));
    return found;
  }

  /** @throws HedgeError INVALID_OPTIONS for a method of a class that is not a singleton. */
  notices(): readonly FoundLifecycleCallback[] {
    return this.#called(noticesOf, 'on a change of the group').map(({ mark: kind, ...found }) => ({ kind, ...found }));
  }

  /** @throws HedgeError INVALID_OPTIONS for a method of a class that is not a singleton. */
  jobs(): readonly JobMethod[] {
    return this.#called(jobsOf, 'at times').map(({ mark, ...found }) => ({ ...mark, ...found }));
  }

  /**
   * Called before the other methods.
   * @throws HedgeError INVALID_OPTIONS for decorated methods of classes that are only guards, interceptors, pipes, filters
   *   or middleware: each module has its own instances of them, and Nest searches them for no handlers.
   */
  refuseEnhancers(): void {
    const hosts = new Set<unknown>([...this.#hosts()].map(({ wrapper }) => wrapper.metatype));
    const left = new Set<string>();
    for (const module of this.modules.values()) {
      for (const wrapper of [...module.injectables.values(), ...module.middlewares.values()] as Wrapper[]) {
        if (hosts.has(wrapper.metatype)) continue;
        for (const method of this.#decorated(wrapper)) left.add(method);
      }
    }
    if (left.size === 0) return;
    throw new HedgeError(
      'INVALID_OPTIONS',
      `${[...left].join(', ')} would never be called, because Nest uses the class only as a guard, interceptor, pipe, filter or middleware. Add the class to the providers of a module, or move the method to a provider.`,
    );
  }

  /** The decorated methods of some modules, for messages: `@OnBroadcast('flush') CacheService.flush`. */
  decoratedIn(moduleKeys: readonly string[]): string[] {
    const wrappers = moduleKeys.flatMap((key) => {
      const module = this.modules.get(key);
      return module === undefined ? [] : [...module.controllers.values(), ...module.providers.values()];
    });
    return wrappers.flatMap((wrapper) => this.#decorated(wrapper));
  }

  #decorated(wrapper: Wrapper): string[] {
    return this.#methods(wrapper).flatMap(({ name, method }) => {
      const place = `${classOf(wrapper)}.${name}`;
      return [
        ...handlersOf(method).map(describePattern),
        ...noticesOf(method).map(describeNotice),
        ...jobsOf(method).map(({ decorator }) => decorator),
      ].map((decorator) => `${decorator} ${place}`);
    });
  }

  /** The methods with these marks, bound to the single instance of their class. */
  #called<Mark>(marksOf: (method: object) => readonly Mark[], when: string): FoundMethod<Mark>[] {
    const found: FoundMethod<Mark>[] = [];
    const seen = new Set<unknown>();
    for (const { wrapper } of this.#hosts()) {
      const { instance } = wrapper as { instance: Record<string, (argument: unknown) => unknown> };
      if (seen.has(instance)) continue;
      seen.add(instance);
      for (const { name, method } of this.#methods(wrapper)) {
        const marks = marksOf(method);
        if (marks.length === 0) continue;
        const place = `${classOf(wrapper)}.${name}`;
        if (!wrapper.isDependencyTreeStatic() || wrapper.isTransient) {
          throw new HedgeError(
            'INVALID_OPTIONS',
            `${place} is to be called ${when}, but its class is request-scoped or transient, so there is no one instance to call. Move the method to a singleton provider.`,
          );
        }
        const call = async (argument: unknown): Promise<void> => {
          refuseUnread(place, await instance[name]?.(argument));
        };
        for (const mark of marks) found.push({ mark, place, call });
      }
    }
    return found;
  }

  *#hosts(): Generator<HandlerHost> {
    for (const [moduleKey, module] of this.modules) {
      for (const wrapper of module.controllers.values()) yield { wrapper, moduleKey, role: 'controller' };
      for (const wrapper of module.providers.values()) {
        if (!wrapper.isAlias) yield { wrapper, moduleKey, role: 'provider' };
      }
    }
  }

  #methods(wrapper: Wrapper): { name: string; method: object; prototype: object }[] {
    const prototype: unknown = wrapper.isNotMetatype
      ? prototypeOf(wrapper.instance)
      : (wrapper.metatype as { prototype?: unknown } | null)?.prototype;
    if (typeof prototype !== 'object' || prototype === null) return [];
    restoreAllMetadata(prototype);
    return this.scanner
      .getAllMethodNames(prototype)
      .map((name) => ({ name, method: (prototype as Record<string, object>)[name] as object, prototype }));
  }

  *#duplicates(found: readonly FoundHandler[]): Generator<string> {
    const first = new Map<string, FoundHandler>();
    for (const handler of found) {
      const { hedge, topic } = handler.pattern;
      const earlier = first.get(`${hedge} ${topic}`);
      if (earlier === undefined) {
        first.set(`${hedge} ${topic}`, handler);
        continue;
      }
      const places =
        earlier.place === handler.place
          ? `${handler.place} stands in two modules, ${this.#moduleOf(earlier)} and ${this.#moduleOf(handler)}`
          : `${earlier.place} and ${handler.place} both have it`;
      const fix = isForwarded(handler.pattern) ? "name: { name: '…' }" : 'topic';
      yield `${describePattern(handler.pattern)} must be on one method: ${places}. Remove one, or give it another ${fix}.`;
    }
  }

  #moduleOf({ host }: FoundHandler): string {
    return this.modules.get(host.moduleKey)?.metatype?.name ?? host.moduleKey;
  }
}

/** The reason why Nest's message pipeline cannot run the handlers of this class; undefined when it can. */
function unwirable(wrapper: Wrapper): string | undefined {
  if (wrapper.isTransient) {
    return 'is a handler of a transient provider, which has no instance of its own. Make the class a singleton or request-scoped.';
  }
  if (wrapper.isNotMetatype || wrapper.token !== wrapper.metatype) {
    const name = classOf(wrapper);
    if (typeof wrapper.token === 'function') {
      return `is a handler of an object that stands in place of the class ${wrapper.token.name} (by overrideProvider, useValue, useClass or useFactory), where its guards and pipes would not be found. In a test, override what the class depends on, or give a substitute without decorated methods; in an app, register the class itself.`;
    }
    return `is a handler of a provider that stands under another token, where its guards and pipes would not be found. Register the class itself, and the token as { provide: …, useExisting: ${name} }.`;
  }
  return undefined;
}

/** The reason why guards and other enhancers would not run before a handler; undefined when they do. */
function unguarded(prototype: object, name: string): string | undefined {
  if (!losesEnhancers(prototype, name)) return undefined;
  return 'has guards, interceptors, pipes or filters that would not run, because a decorator above them replaced the method. Write that decorator below them.';
}

function classOf(wrapper: Wrapper): string {
  if (!wrapper.isNotMetatype) return wrapper.metatype?.name ?? String(wrapper.name);
  return (wrapper.instance as object).constructor.name;
}

function prototypeOf(instance: unknown): unknown {
  return typeof instance === 'object' && instance !== null ? Object.getPrototypeOf(instance) : undefined;
}
