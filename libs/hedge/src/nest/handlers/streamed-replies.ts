import { Ctx, Payload } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import { isGenerator } from '../../common/async/generators.js';
import { isAsyncIterable, type ItemReader, readItems } from '../../streams/item-reader.js';

/** Nest's own metadata of decorated parameters, on the class by method. */
const NEST_PARAMETERS = '__routeArguments__';
/** Marks a method whose replies are streamed already: it may have two stream decorators. */
const STREAMED = Symbol.for('nestjs-hedge:streamed');
/** On the context of a stream: how its replies leave. From the global registry, as the others. */
export const REPLIES = Symbol.for('nestjs-hedge:replies');

/** How the replies of a stream's handler leave. */
export interface Replies {
  /** Waits until the caller has room for more; undefined when it has room now. */
  room(): Promise<void> | undefined;
  /** The source that the handler returned is closed when the stream is over, whether anybody has read it or not. */
  leaveWhenOver(leave: () => void): void;
}

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

/** Those that Nest would pass. Without a decorated one it passes the payload, until another is decorated. */
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
  // An interceptor may have stopped waiting for the handler, or never subscribe.
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
    // Also after its end, when it changes nothing.
    return () => items.leave();
  });
}

/** Of an async iterable, a stream or a generator; an array is one reply. */
function itemsOf(result: unknown): ItemReader | undefined {
  return isAsyncIterable(result) || isGenerator(result) ? readItems(result, { begin: true }) : undefined;
}
