import { MessagePattern } from '@nestjs/microservices';
import { checkDecoration, decoratedMethod, refuseGenerator, remember, restoreMetadata } from './decorated-method.js';
import { HedgeError } from '../../common/errors.js';
import { checkTopic } from '../../messaging/topics.js';
import {
  HANDLERS,
  HEDGE_TRANSPORT,
  NOTICES,
  describeNotice,
  describePattern,
  handlersOf,
  noticesOf,
} from '../handlers/handler-metadata.js';
import type { HandlerKind, NoticeKind } from '../handlers/handler-metadata.js';
import { streamReplies } from '../handlers/streamed-replies.js';

/** Nest's own metadata of a message handler; a method can hold the patterns of one transport only. */
const NEST_PATTERN = 'microservices:pattern';

/**
 * Runs this method on the leader, for `LeaderService.send(topic, …)` from any pod.
 *
 * Works on methods of controllers and providers, with Nest's guards, pipes, interceptors, exception filters, `@Payload()`,
 * `@Ctx()` and request scope. The method runs at most once for each request within one term, and possibly again under
 * the next leader: `ctx.requestId` stays the same, `ctx.attempt` rises. Its result (a value, a promise, or the last value
 * of an Observable) is the reply. An error reaches the caller as HANDLER_FAILED.
 *
 * @param topic at most 256 characters; one method per topic in an app. Default: the empty topic.
 *
 * @example
 * \@OnLeaderMessage('price')
 * price(@Payload() order: Order, @Ctx() ctx: HedgeContext) { return { total: order.qty * 3 }; }
 */
export function OnLeaderMessage(topic = ''): MethodDecorator {
  return handler('leader', topic);
}

/**
 * Runs this method on every pod, the caller's included, for `ClusterService.broadcast(topic, …)`. Its result is the reply
 * of that pod. Otherwise it works like `@OnLeaderMessage`; one method may have both.
 *
 * @example
 * \@OnBroadcast('flush')
 * flush() { this.cache.clear(); return { flushed: true }; }
 */
export function OnBroadcast(topic = ''): MethodDecorator {
  return handler('broadcast', topic);
}

/**
 * Runs this method on the leader for each stream of `LeaderService.sendStream(topic, …)`. `@Payload()` is an
 * `AsyncIterable` of the messages of the caller. The method is a generator, or returns an async iterable, a generator or
 * an Observable; each item is a reply. Each side waits for the other (an Observable cannot wait: beyond
 * `limits.maxQueuedBytes` its stream fails). Replies may begin before the input ends.
 *
 * Nest's guards, pipes, interceptors and filters apply: an interceptor sees each reply, a filter each late error. When the
 * caller or the lease is lost, or the caller cancels, the input throws, `ctx.signal` aborts and the `return` of the
 * iterable runs. An error of the method reaches the caller as HANDLER_FAILED, after the earlier replies.
 *
 * @example
 * \@OnLeaderStream('import')
 * async *import(@Payload() orders: AsyncIterable<Order>, @Ctx() ctx: HedgeContext) {
 *   for await (const order of orders) yield await this.store(order, ctx.fencingToken);
 * }
 */
export function OnLeaderStream(topic = ''): MethodDecorator {
  return streamHandler('leader-stream', topic);
}

/**
 * Runs this method on every pod, the caller's included, for each stream of `ClusterService.broadcastStream(topic, …)`.
 * Otherwise it works like `@OnLeaderStream`; one method may have both.
 */
export function OnBroadcastStream(topic = ''): MethodDecorator {
  return streamHandler('broadcast-stream', topic);
}

/**
 * Calls this method when the leader changes, is lost, or is first known, with the result of `LeaderService.leader()`.
 * Errors of the method are logged.
 */
export function OnLeaderChange(): MethodDecorator {
  return notice('leader-change');
}

/**
 * Calls this method with the first view, and with each new view in which a member has joined, left or restarted. A view
 * with the same members, as after a change of leader, is only in `ClusterService.changes$`. Errors of the method are
 * logged.
 */
export function OnMembersChange(): MethodDecorator {
  return notice('members-change');
}

/**
 * Runs this method in every term of this pod. `signal` aborts when the leadership is lost. Pass `fencingToken` to each
 * system that must refuse a former leader. Two runs never overlap in one process. When the method throws while the pod
 * still leads, the error is logged and the method runs again.
 *
 * @example
 * \@WhileLeader()
 * async reconcile({ signal, fencingToken }: Leadership) {
 *   while (!signal.aborted) await this.nextBatch(fencingToken, signal);
 * }
 */
export function WhileLeader(): MethodDecorator {
  return notice('while-leader');
}

/** Makes the method a handler by Nest's message patterns. A method keeps the patterns that it has. */
export function handler(kind: HandlerKind, topic: string): MethodDecorator {
  return (target, key, descriptor) => {
    const decorator = nameOf(kind, topic);
    const { place, method, name } = decoratedMethod(decorator, target, key, descriptor);
    // No message could ever be sent to such a topic.
    checkDecoration(place, () => checkTopic(topic));
    restoreMetadata(target, name, method);
    const earlier = handlersOf(method);
    if (earlier.length === 0 && Reflect.hasMetadata(NEST_PATTERN, method)) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `${place} already handles messages of another transport, and Nest keeps the patterns of one transport per method. Give Hedge a method of its own that calls it.`,
      );
    }
    const patterns = [...earlier, { hedge: kind, topic }];
    Reflect.defineMetadata(HANDLERS, patterns, method);
    MessagePattern<object[]>(patterns, HEDGE_TRANSPORT)(target, key, descriptor);
    remember(target, name, method);
  };
}

function streamHandler(kind: HandlerKind, topic: string): MethodDecorator {
  return (target, key, descriptor) => {
    const decorator = nameOf(kind, topic);
    const { method, name } = decoratedMethod(decorator, target, key, descriptor);
    restoreMetadata(target, name, method);
    streamReplies(target, key, descriptor);
    handler(kind, topic)(target, key, descriptor);
  };
}

/** @param topic of any type, from a caller without TypeScript */
function nameOf(hedge: HandlerKind, topic: unknown): string {
  return describePattern({ hedge, topic: String(topic) });
}

function notice(kind: NoticeKind): MethodDecorator {
  return (target, key, descriptor) => {
    const decorated = decoratedMethod(describeNotice(kind), target, key, descriptor);
    refuseGenerator(describeNotice(kind), decorated);
    const { method, name } = decorated;
    restoreMetadata(target, name, method);
    Reflect.defineMetadata(NOTICES, [...noticesOf(method), kind], method);
    remember(target, name, method);
  };
}
