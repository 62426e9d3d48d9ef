import { Ctx, Payload } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import { isGenerator } from '../../common/async/generators.js';
import { isAsyncIterable, type ItemReader, readItems } from '../../streams/item-reader.js';

/** Nest's own metadata of decorated parameters, on the class by method. */
const NEST_PARAMETERS = '__routeArguments__';
/** Marks a method whose replies are streamed already: it may have two stream decorators. */
const STREAMED = Symbol.for('nestjs-hedge:streamed');
/** The key of `Replies` on the context of a stream. From the global registry, as the others. */
export const REPLIES = Symbol.for('nestjs-hedge:replies');

/** Controls the replies of a stream's handler. */
export interface Replies {
  /** Waits until the caller has room for more; undefined when it has room now. */
  room(): Promise<void> | undefined;
  /** Registers the closing of the source that the handler returned. It runs when the stream is over, also if no one has read the source. */
  leaveWhenOver(leave: () => void): void;
}

/**
 * Turns the iterable that a handler returns into an Observable. So interceptors see each reply, and filters see late errors;
 * Nest would pass an iterable on as one value. The Observable reads the next item only when the caller has room for it. A
 * direct call of the method returns the iterable itself.
 */
export function streamReplies(target: object, key: string | symbol, descriptor: PropertyDescriptor): void {
  const method = descriptor.value as (...args: unknown[]) => unknown;
  if (Reflect.hasMetadata(STREAMED, method)) return;
  // Nest passes the context after the method's own parameters.
  const own = countParameters(target, key);
  Ctx()(target, key, own);

  const streamed = function (this: unknown, ...args: unknown[]): unknown {
    const replies = args.map(repliesOf).find((found) => found !== undefined);
    if (replies === undefined) return method.apply(this, args);
    const result = method.apply(this, args.slice(0, own));
    return result instanceof Promise
      ? result.then((value: unknown) => pulledBy(replies, value))
      : pulledBy(replies, result);
  };
  Object.defineProperty(streamed, 'name', { value: method.name });
  for (const name of Reflect.getMetadataKeys(method)) {
    Reflect.defineMetadata(name, Reflect.getMetadata(name, method), streamed);
  }
  Reflect.defineMetadata(STREAMED, true, streamed);
  descriptor.value = streamed;
}

/** The number of arguments that Nest passes. Without decorated parameters it passes the payload. */
function countParameters(target: object, key: string | symbol): number {
  const decorated: unknown = Reflect.getMetadata(NEST_PARAMETERS, target.constructor, key);
  if (decorated === undefined) {
    Payload()(target, key, 0);
    return 1;
  }
  return 1 + Math.max(...Object.values(decorated as Record<string, { index: number }>).map(({ index }) => index));
}

function repliesOf(value: unknown): Replies | undefined {
  return typeof value === 'object' && value !== null ? (value as { readonly [REPLIES]?: Replies })[REPLIES] : undefined;
}

function pulledBy(replies: Replies, result: unknown): unknown {
  const items = itemsOf(result);
  if (items === undefined) return result;
  // An interceptor may stop waiting for the handler, or may never subscribe.
  replies.leaveWhenOver(() => items.leave());
  return new Observable((subscriber) => {
    const pull = async (): Promise<void> => {
      try {
        for (;;) {
          const wait = replies.room();
          if (wait !== undefined) await wait;
          if (subscriber.closed) return;
          const { done, value } = await items.next();
          if (subscriber.closed) return;
          if (done === true) return subscriber.complete();
          subscriber.next(value);
        }
      } catch (error) {
        subscriber.error(error);
      }
    };
    void pull();
    // Idempotent, also after the end of the items.
    return () => items.leave();
  });
}

/** A reader of an async iterable, a stream or a generator. An array is one reply. */
function itemsOf(result: unknown): ItemReader | undefined {
  return isAsyncIterable(result) || isGenerator(result) ? readItems(result, { begin: true }) : undefined;
}
