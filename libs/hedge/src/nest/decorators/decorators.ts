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
 * Works on methods of controllers and of providers. Guards, pipes, interceptors, exception filters,
 * `@Payload()`, `@Ctx()` and request scope are Nest's own. Runs once for each request within one leader's
 * term, and possibly again under the next leader: `ctx.requestId` stays the same, `ctx.attempt` rises. What
 * it returns (a value, a promise, or the last value of an Observable) is the reply; what it throws reaches
 * the caller as HANDLER_FAILED.
 *
 * @param topic at most 256 characters; one method per topic in an app. Empty for an app with only one.
 *
 * @example
 * \@OnLeaderMessage('price')
 * price(@Payload() order: Order, @Ctx() ctx: HedgeContext) { return { total: order.qty * 3 }; }
 */
export function OnLeaderMessage(topic = ''): MethodDecorator {
  return handler('leader', topic);
}

/**
 * Runs this method on every pod, the caller's too, for `ClusterService.broadcast(topic, …)`. What it returns
 * is that pod's answer. Otherwise as `@OnLeaderMessage`, and may stand on the same method.
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
 * `AsyncIterable` of what the caller sends; the method is or returns an async iterable, a generator or an Observable,
 * and each item is a reply. Both are read and written at the pace of the other end (only an Observable cannot be
 * made to wait: above `limits.maxQueuedBytes` its stream fails). Replies may begin before the input ends.
 *
 * Guards, pipes, interceptors and filters are Nest's own: an interceptor sees each reply, a filter what is thrown
 * late. When the caller leaves or is lost, or the lease is, the input throws, `ctx.signal` aborts and the iterable's
 * `return` runs. What the method throws reaches the caller as HANDLER_FAILED, after the replies before it.
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
 * Runs this method on every pod, the caller's too, for each stream of `ClusterService.broadcastStream(topic, …)`.
 * Otherwise as `@OnLeaderStream`, and may stand on the same method.
 */
export function OnBroadcastStream(topic = ''): MethodDecorator {
  return streamHandler('broadcast-stream', topic);
}

/**
 * Calls this method when the leader becomes another one, is lost, or is first known, with what
 * `LeaderService.leader()` then answers. Its errors are logged.
 */
export function OnLeaderChange(): MethodDecorator {
  return notice('leader-change');
}

/**
 * Calls this method when a member joins, leaves or restarts, with the new view, and with the first one. Not for a new view
 * of the same members, as after a change of leader: those are in `ClusterService.changes$`. Its errors are logged.
 */
export function OnMembersChange(): MethodDecorator {
  return notice('members-change');
}

/**
 * Runs this method whenever this pod leads: on election, and again on the next one. `signal` aborts when
 * leadership is lost; pass `fencingToken` to whatever must not be written by a former leader. Two runs never
 * overlap in one process. When it throws while the pod still leads, it is logged and run again.
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

/** A handler on Nest's own message patterns. Applied again on one method, it keeps the earlier ones. */
export function handler(kind: HandlerKind, topic: string): MethodDecorator {
  return (target, key, descriptor) => {
    const decorator = nameOf(kind, topic);
    const { place, method, name } = decoratedMethod(decorator, target, key, descriptor);
    // Here, because nothing could ever be sent to such a topic.
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

/** Whatever a caller without types gave as the topic. */
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
