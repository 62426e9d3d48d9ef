import { isObservable, type Observable, Subject, takeUntil } from 'rxjs';
import { inFreshContext } from '../../common/async/async-context.js';
import type { Logger } from '../../common/line-logger.js';
import { processMessage } from '../../telemetry/tracing.js';
import type { ItemSink } from '../../streams/item-writer.js';
import type { IncomingStream, StreamHandlers } from '../../streams/stream-receiver.js';
import { HedgeContext } from './context.js';
import { logFault, noHandler } from './dispatch.js';
import { handlerFailure, isDeliberate } from './handler-failure.js';
import type { HandlerKind } from './handler-metadata.js';
import type { HedgeStrategy } from './strategy.js';
import { REPLIES, type Replies } from './streamed-replies.js';

/** The context of a stream, with the path for its replies. */
class StreamContext extends HedgeContext {
  readonly [REPLIES]: Replies;
  readonly #returned = new Set<() => void>();
  #over = false;

  constructor(stream: IncomingStream) {
    super(stream);
    this[REPLIES] = {
      room: () => stream.replies.room(),
      leaveWhenOver: (leave) => (this.#over ? leave() : void this.#returned.add(leave)),
    };
  }

  over(): void {
    this.#over = true;
    for (const leave of this.#returned) leave();
  }
}

/** Runs incoming streams through Nest's pipeline: the handlers of one kind. */
export class StreamDispatch implements StreamHandlers {
  constructor(
    private readonly strategy: HedgeStrategy,
    private readonly kind: HandlerKind,
    /** This pod's address, for errors; asked late, because the port may be chosen at start. */
    private readonly address: () => string,
    private readonly logger: Logger,
  ) {}

  check(topic: string): void {
    if (this.strategy.route(this.kind, topic) !== undefined) return;
    throw noHandler(this.strategy, this.kind, topic, this.address());
  }

  async run(stream: IncomingStream): Promise<void> {
    const { topic, input, replies, signal } = stream;
    const context = new StreamContext(stream);
    let refusal: { readonly error: unknown } | undefined;
    const refuse = (error: unknown): void => {
      refusal = { error };
    };
    try {
      await inFreshContext(() =>
        processMessage(topic, stream, async () => {
          const result: unknown = await this.strategy.route(this.kind, topic)?.(input, context);
          if (isObservable(result)) await passOn(result, replies, signal, refuse);
          else if (result !== undefined) replies.push(result);
        }),
      );
    } catch (thrown) {
      if (!isDeliberate(thrown) && !signal.aborted) logFault(this.logger, this.kind, stream, thrown);
      throw handlerFailure(thrown, { requestId: stream.requestId, topic, pod: this.address() });
    } finally {
      context.over();
    }
    if (refusal !== undefined) throw refusal.error;
  }
}

/** Resolves when all replies were sent or one was refused. Rejects with the error of the handler or of the stream. */
function passOn(
  values: Observable<unknown>,
  replies: ItemSink,
  signal: AbortSignal,
  refuse: (error: unknown) => void,
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const stop = new Subject<void>();
    const subscription = values.pipe(takeUntil(stop)).subscribe({
      next(value) {
        try {
          replies.push(value);
        } catch (error) {
          refuse(error);
          // It may have emitted within `subscribe`, when there is no subscription yet. This completes it.
          stop.next();
        }
      },
      error: (error: unknown) => {
        signal.removeEventListener('abort', giveUp);
        reject(error);
      },
      complete: () => {
        signal.removeEventListener('abort', giveUp);
        resolve();
      },
    });
    function giveUp(): void {
      subscription.unsubscribe();
      reject(signal.reason as Error);
    }
    if (subscription.closed) return;
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
  });
}
