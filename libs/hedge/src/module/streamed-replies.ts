import { Ctx, Payload } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import { isAsyncIterable } from '../streams/source.js';

/** Nest's own metadata of decorated parameters, on the class by method. */
const NEST_PARAMETERS = '__routeArguments__';
/** On a method whose replies are streamed already: it may have two stream decorators. */
const STREAMED = Symbol.for('nestjs-hedge:streamed');
/** On the context of a stream: waits until the caller takes more replies. From the global registry, as the others. */
export const ROOM = Symbol.for('nestjs-hedge:room');

/** Waits for room; undefined when there is some. */
export type Room = () => Promise<void> | undefined;

/**
 * Turns the iterable that a handler returns into an Observable, so that interceptors see each reply, and filters what
 * the iterable throws late: Nest would pass it on as one value. The Observable reads on only while the caller takes
 * replies. A method that is called by anyone but Nest returns what it always did.
 */
export function streamReplies(target: object, key: string | symbol, descriptor: PropertyDescriptor): void {
  const method = descriptor.value as (...args: unknown[]) => unknown;
  if (Reflect.hasMetadata(STREAMED, method)) return;
  // The context has to come along after the method's own parameters, whatever they are.
  const own = countParameters(target, key);
  Ctx()(target, key, own);

  const streamed = function (this: unknown, ...args: unknown[]): unknown {
    const room = args.map(roomOf).find((found) => found !== undefined);
    if (room === undefined) return method.apply(this, args);
    const result = method.apply(this, args.slice(0, own));
    return result instanceof Promise
      ? result.then((value: unknown) => pulledWhile(room, value))
      : pulledWhile(room, result);
  };
  Object.defineProperty(streamed, 'name', { value: method.name });
  for (const name of Reflect.getMetadataKeys(method)) {
    Reflect.defineMetadata(name, Reflect.getMetadata(name, method), streamed);
  }
  Reflect.defineMetadata(STREAMED, true, streamed);
  descriptor.value = streamed;
}

/** Those that Nest would pass. Without a decorated one it passes the payload, until another is decorated. */
function countParameters(target: object, key: string | symbol): number {
  const decorated: unknown = Reflect.getMetadata(NEST_PARAMETERS, target.constructor, key);
  if (decorated === undefined) {
    Payload()(target, key, 0);
    return 1;
  }
  return 1 + Math.max(...Object.values(decorated as Record<string, { index: number }>).map(({ index }) => index));
}

function roomOf(value: unknown): Room | undefined {
  return typeof value === 'object' && value !== null ? (value as { readonly [ROOM]?: Room })[ROOM] : undefined;
}

function pulledWhile(room: Room, result: unknown): unknown {
  const iterable = iterableOf(result);
  if (iterable === undefined) return result;
  return new Observable((subscriber) => {
    const iterator = iterable();
    const pull = async (): Promise<void> => {
      try {
        for (;;) {
          const wait = room();
          if (wait !== undefined) await wait;
          if (subscriber.closed) return;
          const { done, value } = await iterator.next();
          if (subscriber.closed) return;
          if (done === true) return subscriber.complete();
          subscriber.next(value);
        }
      } catch (error) {
        subscriber.error(error);
      }
    };
    void pull();
    return () => {
      // Also after its end, when it changes nothing. Whatever it answers, nobody waits for it.
      void (async () => iterator.return?.())().catch(() => undefined);
    };
  });
}

/** Of an async iterable or a generator; an array is one reply. */
function iterableOf(result: unknown): (() => AsyncIterator<unknown> | Iterator<unknown>) | undefined {
  if (isAsyncIterable(result)) return () => result[Symbol.asyncIterator]();
  return isGenerator(result) ? () => result : undefined;
}

function isGenerator(value: unknown): value is Iterator<unknown> {
  return Object.prototype.toString.call(value) === '[object Generator]';
}
