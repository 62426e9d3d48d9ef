import { Injectable } from '@nestjs/common';
import { Server } from '@nestjs/microservices';
import type { CustomTransportStrategy, MessageHandler } from '@nestjs/microservices';
import { HedgeError } from '../../common/errors.js';
import { HEDGE_TRANSPORT, describePattern } from './handler-metadata.js';
import type { HandlerKind, HandlerPattern } from './handler-metadata.js';
import { passHandlerErrors } from './rpc-errors.js';

/**
 * Holds the handlers that Nest registers. The module connects it. An app may also connect it in main.ts, before
 * `app.init()` or `app.listen()`. Then Nest's rules for a connected microservice apply: Nest wires controllers only, and
 * the global enhancers are those of that microservice.
 *
 * It has no connection of its own: `listen` and `close` neither start nor stop the pod.
 *
 * @example
 * app.connectMicroservice({ strategy: app.get(HedgeStrategy) });
 */
@Injectable()
export class HedgeStrategy extends Server implements CustomTransportStrategy {
  override readonly transportId: symbol = HEDGE_TRANSPORT;
  readonly #routes: Readonly<Record<HandlerKind, Map<string, MessageHandler>>> = {
    leader: new Map(),
    broadcast: new Map(),
    'leader-stream': new Map(),
    'broadcast-stream': new Map(),
    probe: new Map(),
  };
  #sealed = false;
  #onListen: () => Promise<void> = async () => undefined;

  constructor() {
    super();
    passHandlerErrors();
  }

  /** Called by Nest, once per pattern of each handler of every transport that does not name another one. */
  override addHandler(pattern: unknown, callback: MessageHandler): void {
    if (!isHandlerPattern(pattern)) return;
    if (this.#sealed) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `${describePattern(pattern)} is wired already: HedgeModule connected its handlers when the app started. Remove the connectMicroservice line for HedgeStrategy, or move it before app.init() and app.listen().`,
      );
    }
    const routes = this.#routes[pattern.hedge];
    // A second handler of one topic is refused at the start, where both methods can be named.
    if (!routes.has(pattern.topic)) routes.set(pattern.topic, callback);
  }

  /** @internal */
  route(kind: HandlerKind, topic: string): MessageHandler | undefined {
    return this.#routes[kind].get(topic);
  }

  /** @internal */
  topics(kind: HandlerKind): string[] {
    return [...this.#routes[kind].keys()];
  }

  /** From now on no handler is added. @internal */
  seal(): void {
    this.#sealed = true;
  }

  /** Sets what runs when Nest starts the connected microservice, for an app whose handlers come only then. @internal */
  onListen(run: () => Promise<void>): void {
    this.#onListen = run;
  }

  async listen(callback: (error?: unknown) => void): Promise<void> {
    try {
      await this.#onListen();
    } catch (error) {
      callback(error);
      return;
    }
    callback();
  }

  close(): void {
    // Nest closes a connected microservice before the app's last hooks, when the cluster is still in use.
  }

  on(): never {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      'HedgeStrategy has no events. Use LeaderService.changes$ or ClusterService.changes$.',
    );
  }

  unwrap<T>(): T {
    return this as unknown as T;
  }
}

function isHandlerPattern(pattern: unknown): pattern is HandlerPattern {
  return typeof pattern === 'object' && pattern !== null && 'hedge' in pattern;
}
