import type { Logger } from '@nestjs/common';
import { isObservable } from 'rxjs';
import type { Observable } from 'rxjs';
import { inFreshContext } from '../common/async-context.js';
import { LineLogger } from '../common/line-logger.js';
import { HedgeError } from '../common/errors.js';
import type { Encoded, IncomingRequest } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import { HedgeContext } from './context.js';
import { handlerFailure, isDeliberate } from './handler-failure.js';
import { describePattern } from './handler-metadata.js';
import type { HandlerKind } from './handler-metadata.js';
import type { HedgeStrategy } from './strategy.js';

/** Runs incoming requests through Nest's pipeline, and turns what comes out into a reply. */
export class HandlerDispatch {
  readonly #logger = new LineLogger('Hedge');

  constructor(
    private readonly strategy: HedgeStrategy,
    private readonly codec: PayloadCodec,
  ) {}

  /**
   * @throws HedgeError NO_HANDLER, HANDLER_FAILED, or INVALID_ARGUMENT when the payload cannot be read.
   */
  async run(kind: HandlerKind, request: IncomingRequest): Promise<Encoded> {
    const { topic } = request;
    const handler = this.strategy.route(kind, topic);
    if (handler === undefined) throw noHandler(this.strategy, kind, topic);
    const data = this.codec.decode(topic, request.payload);
    try {
      const result: unknown = await inFreshContext(async () => {
        const returned: unknown = await handler(data, new HedgeContext(request));
        return isObservable(returned) ? lastValue(returned, request.signal) : returned;
      });
      return this.codec.encode(topic, result);
    } catch (thrown) {
      if (!isDeliberate(thrown) && !request.signal.aborted) logFault(this.#logger, kind, topic, thrown);
      throw handlerFailure(thrown);
    }
  }
}

/** Of no handler on this pod, with those there are. */
export function noHandler(strategy: HedgeStrategy, kind: HandlerKind, topic: string): HedgeError {
  const known = strategy.topics(kind).map((name) => `'${name}'`);
  return new HedgeError(
    'NO_HANDLER',
    `No method is decorated with ${describePattern({ hedge: kind, topic })} on this pod, which has ${known.length === 0 ? 'none of that kind' : known.join(', ')}. Check the topic, and that all pods run the same version.`,
    { details: { topic } },
  );
}

/** Logs what a handler threw though it did not mean to answer with it. */
export function logFault(logger: Logger, kind: HandlerKind, topic: string, thrown: unknown): void {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  logger.error(`${describePattern({ hedge: kind, topic })} failed: ${error.message}`, error.stack);
}

/**
 * What Nest makes of a handler's Observable elsewhere too: the last value once it completes, so that what an
 * interceptor does on completion is done before the reply. Given up when the request is.
 */
function lastValue(values: Observable<unknown>, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let last: unknown;
    const giveUp = () => {
      subscription.unsubscribe();
      reject(signal.reason as Error);
    };
    const subscription = values.subscribe({
      next: (value) => void (last = value),
      error: (error: unknown) => {
        signal.removeEventListener('abort', giveUp);
        reject(error);
      },
      complete: () => {
        signal.removeEventListener('abort', giveUp);
        resolve(last);
      },
    });
    if (subscription.closed) return;
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
  });
}
