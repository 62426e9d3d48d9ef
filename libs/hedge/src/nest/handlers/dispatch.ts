import { isObservable } from 'rxjs';
import type { Observable } from 'rxjs';
import { inFreshContext } from '../../common/async/async-context.js';
import type { Logger } from '../../common/line-logger.js';
import { HedgeError } from '../../common/errors.js';
import { destinationOf, isForwarded, RESERVED_TOPICS } from '../../messaging/topics.js';
import type { Encoded, IncomingRequest } from '../../messaging/message.js';
import { isStreamLike } from '../../messaging/json-values.js';
import type { PayloadCodec } from '../../messaging/serializer.js';
import { processMessage } from '../../telemetry/tracing.js';
import { HedgeContext } from './context.js';
import { receivedArguments } from '../decorators/forwarded-arguments.js';
import { handlerFailure, isDeliberate } from './handler-failure.js';
import { describePattern } from './handler-metadata.js';
import type { HandlerKind } from './handler-metadata.js';
import type { HedgeStrategy } from './strategy.js';

/** Runs incoming requests through Nest's pipeline, and encodes the results as replies. */
export class HandlerDispatch {
  constructor(
    private readonly strategy: HedgeStrategy,
    private readonly codec: PayloadCodec,
    /** This pod's address, for errors; asked late, because the port may be chosen at start. */
    private readonly address: () => string,
    private readonly logger: Logger,
  ) {}

  /**
   * @throws HedgeError NO_HANDLER, HANDLER_FAILED, or INVALID_ARGUMENT when the payload cannot be read.
   */
  async run(kind: HandlerKind, request: IncomingRequest): Promise<Encoded> {
    const { topic } = request;
    const handler = this.strategy.route(kind, topic);
    if (handler === undefined) throw noHandler(this.strategy, kind, topic, this.address());
    const sent = this.codec.decode(topic, request.payload);
    const data = isForwarded({ topic }) ? receivedArguments(sent) : sent;
    try {
      const result: unknown = await inFreshContext(() =>
        processMessage(destinationOf(topic), request, async () => {
          const returned: unknown = await handler(data, new HedgeContext(request));
          return isObservable(returned) ? lastValue(returned, request.signal) : returned;
        }),
      );
      if (isStreamLike(result)) throw streamReturned(kind, topic, result);
      return this.codec.encode(topic, result);
    } catch (thrown) {
      if (!isDeliberate(thrown) && !request.signal.aborted) logFault(this.logger, kind, request, thrown);
      throw handlerFailure(thrown, { requestId: request.requestId, topic, pod: this.address() });
    }
  }
}

/** Names this pod, because the caller may be another one, and the topics that it has. */
export function noHandler(strategy: HedgeStrategy, kind: HandlerKind, topic: string, pod: string): HedgeError {
  const known = strategy
    .topics(kind)
    .filter((name) => !name.startsWith(RESERVED_TOPICS))
    .map((name) => `'${name}'`);
  const role = kind === 'leader' || kind === 'leader-stream' ? ' (the leader)' : '';
  return new HedgeError(
    'NO_HANDLER',
    `No method is decorated with ${describePattern({ hedge: kind, topic })} on pod ${pod}${role}, which has ${known.length === 0 ? 'none of that kind' : known.join(', ')}. Check the topic, and that all pods run the same version.`,
    { details: { topic, pod } },
  );
}

type FaultyRequest = Pick<IncomingRequest, 'topic' | 'requestId' | 'caller' | 'attempt' | 'epoch'>;

/** Logs an unexpected error of a handler. */
export function logFault(
  logger: Logger,
  kind: HandlerKind,
  { topic, requestId, caller, attempt, epoch }: FaultyRequest,
  thrown: unknown,
): void {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const from = caller.address === '' ? `client ${caller.incarnation}` : caller.address;
  logger.error(
    `${describePattern({ hedge: kind, topic })} failed: ${error.message} (request ${requestId} of ${from})`,
    error.stack,
    {
      event: 'message.failed',
      kind,
      topic: destinationOf(topic),
      requestId,
      attempt,
      caller: from,
      token: epoch,
      code: 'HANDLER_FAILED',
    },
  );
}

/** The error for a handler that returned a stream, which cannot be one reply. Closes the stream, because nothing reads it. */
function streamReturned(kind: HandlerKind, topic: string, value: object): Error {
  closeStream(value);
  const decorator = kind === 'broadcast' ? 'OnBroadcastStream' : 'OnLeaderStream';
  const what = describePattern({ hedge: kind, topic });
  const name = isForwarded({ topic }) ? 'topic' : `'${topic}'`;
  return new Error(
    `${what} returned a stream or generator, and a reply is one value. Decorate the method with @${decorator}(${name}), or return what the stream yields as an array.`,
  );
}

function closeStream(value: object): void {
  const { destroy, cancel, return: leave } = value as Record<string, unknown>;
  const close = [destroy, cancel, leave].find((method) => typeof method === 'function');
  if (close === undefined) return;
  // Nothing waits for the result, and its errors are ignored.
  Promise.resolve()
    .then(() => (close as () => unknown).call(value))
    .catch(() => undefined);
}

/**
 * Resolves with the last value when the Observable completes, as Nest does for other transports. So the completion code of
 * an interceptor runs before the reply. Unsubscribes when the signal of the request aborts.
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
