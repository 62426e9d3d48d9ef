import { isObservable } from 'rxjs';
import { HedgeError, messageOf } from '../../common/errors.js';
import { isGenerator, isGeneratorFunction } from '../../common/async/generators.js';

/** The key, on the prototype of a class, of its decorated methods by name. From the global registry, as those of the methods. */
const DECORATED = Symbol.for('nestjs-hedge:decorated');

/** Nest's own metadata of guards, interceptors, pipes and filters. */
const NEST_ENHANCERS: readonly unknown[] = ['__guards__', '__interceptors__', '__pipes__', '__exceptionFilters__'];

const SERVED = '@leader';

type Decorated = ReadonlyMap<string, object>;

export interface DecoratedMethod {
  /** `OrdersController.price`, for messages. */
  readonly place: string;
  readonly method: (...args: never[]) => unknown;
  readonly name: string;
}

/**
 * The method under a decorator of this library. Nest finds methods by their names on the objects that it makes, so it would
 * never call a method that is static or has no name.
 * @throws HedgeError INVALID_OPTIONS
 */
export function decoratedMethod(
  decorator: string,
  target: object,
  key: string | symbol,
  descriptor: PropertyDescriptor | undefined,
): DecoratedMethod {
  const isStatic = typeof target === 'function';
  const place = `${isStatic ? target.name : target.constructor.name}.${String(key)}`;
  const method: unknown = descriptor?.value;
  const problem = isStatic
    ? 'is static, and belongs to no object that Nest makes'
    : typeof key !== 'string'
      ? 'is named by a symbol, and Nest finds methods by names that are strings'
      : typeof method !== 'function'
        ? 'is no method'
        : undefined;
  if (problem === undefined) return { place, method: method as DecoratedMethod['method'], name: key as string };
  throw new HedgeError(
    'INVALID_OPTIONS',
    `${place} cannot be ${decorator}: it ${problem}. Decorate a method of the class, with a name.`,
  );
}

const HOW_TO_RUN =
  'so nothing of it would run. Make it an async method without the asterisk, and read what it yields in a loop in it.';

/**
 * Called by decorators whose methods this library calls without reading the result.
 * @throws HedgeError INVALID_OPTIONS
 */
export function refuseGenerator(decorator: string, { place, method }: DecoratedMethod): void {
  if (!isGeneratorFunction(method)) return;
  throw new HedgeError(
    'INVALID_OPTIONS',
    `${place} cannot be ${decorator}: it is a generator, whose values nobody would read, ${HOW_TO_RUN}`,
  );
}

/**
 * Called with the result of such a method: another decorator, or a compiler, can hide a generator.
 * @throws HedgeError INVALID_OPTIONS
 */
export function refuseUnread(place: string, returned: unknown): void {
  if (isGenerator(returned)) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      `${place} returned a generator, whose values nobody reads, ${HOW_TO_RUN.replace('would run', 'ran')}`,
    );
  }
  if (isObservable(returned)) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      `${place} returned an Observable, to which nobody subscribes. Return a promise: lastValueFrom(observable, { defaultValue: undefined }).`,
    );
  }
}

/** Called with the method that a decorator of this library has put into the descriptor. */
export function remember(target: object, name: string, method: object): void {
  Reflect.defineMetadata(DECORATED, new Map([...decoratedOf(target), [name, method]]), target);
}

/**
 * Another decorator may have replaced a decorated method by a function without its metadata. The function receives this
 * metadata, so that it is called instead. It does not receive guards and other enhancers: at the start, Nest has read
 * those already, and would ignore them.
 */
export function restoreMetadata(target: object, name: string, method: object): void {
  const decorated = decoratedOf(target).get(name);
  if (decorated === undefined || decorated === method) return;
  for (const key of Reflect.getOwnMetadataKeys(decorated) as unknown[]) {
    if (Reflect.hasOwnMetadata(key, method) || NEST_ENHANCERS.includes(key)) continue;
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, decorated), method);
  }
}

/** As `restoreMetadata`, for all methods of a class. */
export function restoreAllMetadata(prototype: object): void {
  for (const target of chainOf(prototype)) {
    for (const name of decoratedOf(target).keys()) {
      const method: unknown = Object.getOwnPropertyDescriptor(target, name)?.value;
      if (typeof method !== 'function') continue;
      restoreMetadata(target, name, method);
      const served: unknown = Object.getOwnPropertyDescriptor(target, servedName(name))?.value;
      if (typeof served === 'function') Object.setPrototypeOf(served, method);
    }
  }
}

/** The name of the method that handles the forwarded calls of a `@LeaderOnly` method. */
export function servedName(name: string): string {
  return `${name}${SERVED}`;
}

/**
 * Whether a decorated method has guards, interceptors, pipes or filters that would not run, because another decorator
 * replaced the method between them and the decorator of this library.
 */
export function losesEnhancers(prototype: object, handler: string): boolean {
  // The forwarded calls of a method have its guards.
  const name = handler.endsWith(SERVED) ? handler.slice(0, -SERVED.length) : handler;
  for (const target of chainOf(prototype)) {
    const method: unknown = Object.getOwnPropertyDescriptor(target, name)?.value;
    if (typeof method !== 'function') continue;
    const decorated = decoratedOf(target).get(name);
    return decorated !== undefined && decorated !== method && !hasAll(enhancersOf(method), enhancersOf(decorated));
  }
  return false;
}

function decoratedOf(target: object): Decorated {
  return (Reflect.getOwnMetadata(DECORATED, target) as Decorated | undefined) ?? new Map();
}

/** A prototype and those that it inherits from. */
function* chainOf(prototype: object): Generator<object, void> {
  for (let target: object | null = prototype; target !== null;) {
    yield target;
    target = Object.getPrototypeOf(target) as object | null;
  }
}

function enhancersOf(method: object): unknown[] {
  return NEST_ENHANCERS.flatMap((key) => (Reflect.getOwnMetadata(key, method) as unknown[] | undefined) ?? []);
}

function hasAll(list: readonly unknown[], items: readonly unknown[]): boolean {
  return items.every((item) => list.includes(item));
}

/**
 * Checks the arguments of a decorator.
 * @param place of the decorated method: `OrdersController.price`.
 * @throws HedgeError INVALID_OPTIONS with the place, for each error of `check`.
 */
export function checkDecoration(place: string, check: () => void): void {
  try {
    check();
  } catch (cause) {
    throw new HedgeError('INVALID_OPTIONS', `${place} is decorated wrongly. ${messageOf(cause)}`, { cause });
  }
}
