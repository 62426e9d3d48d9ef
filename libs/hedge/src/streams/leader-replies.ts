import { atCaller, HedgeError, messageOf } from '../common/errors.js';
import type { Exchange } from './exchange.js';
import { watchIdle } from './idle.js';
import { sinkOf } from './item-writer.js';
import { type Cancellation, iterateUntilLeft } from './iteration.js';
import { type SourceOver, SourceReader, type StreamSource } from './source.js';
import type { StreamCaller } from './stream-caller.js';
import { type StreamOptions, idleTooLong, timedOut } from './stream-options.js';

export interface LeaderStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly source: StreamSource;
  readonly options: StreamOptions;
}

/** Feeds a source to the handler of the leader, and yields its replies. Begins with the first `next()`. */
export function leaderReplies(init: LeaderStreamInit): AsyncIterableIterator<unknown, void> {
  const source = new SourceReader(init.source);
  return iterateUntilLeft(
    init.options.signal,
    (cancellation) => exchangeItems({ ...init, source }, cancellation),
    () => source.leave(),
  );
}

async function* exchangeItems(
  { caller, topic, source, options }: Omit<LeaderStreamInit, 'source'> & { readonly source: SourceReader },
  cancellation: Cancellation,
): AsyncGenerator<unknown, void> {
  const { timeoutMs, idleTimeoutMs, signal } = options;
  const { clock, codec } = caller;
  const stops: (() => void)[] = [];
  let exchange: Exchange | undefined;
  let thrown: unknown;
  const span = caller.begin('leader-stream', topic);
  let sourceFailure: { readonly error: unknown } | undefined;
  source.onEarlyFailure((error) => {
    sourceFailure = { error };
    cancellation.cancel(error);
  });
  try {
    if (timeoutMs !== undefined) {
      stops.push(clock.after(timeoutMs, () => cancellation.cancel(timedOut(topic, timeoutMs)), true));
    }
    const opened = (exchange = await caller.openAtLeader(topic, cancellation.signal, span.trace));
    if (idleTimeoutMs !== undefined) {
      const progress = (): number => opened.writer.framesWritten + opened.progress.received;
      stops.push(
        watchIdle(clock, idleTimeoutMs, progress, () => cancellation.cancel(idleTooLong(topic, idleTimeoutMs))),
      );
    }
    const sourceOver: SourceOver = (failure) => {
      sourceFailure = failure;
      if (failure === undefined) void opened.writer.end();
      else opened.sourceFailed(messageOf(failure.error));
    };
    // Called even while the consumer is busy with a reply.
    opened.signal.addEventListener('abort', () => source.leave(), { once: true });
    source.feed(sinkOf(opened.writer, topic, codec), sourceOver);
    for await (const reply of opened.replies()) yield reply;
  } catch (error) {
    thrown = error;
    if (sourceFailure !== undefined) throw sourceFailure.error;
    const reason: unknown = cancellation.signal.aborted ? cancellation.signal.reason : error;
    if (reason === signal?.reason) throw reason;
    if (exchange === undefined || !(reason instanceof HedgeError)) throw atCaller(reason);
    throw atCaller(exchange.explain(reason));
  } finally {
    for (const stop of stops) stop();
    span.end(thrown);
    exchange?.close(new HedgeError('CANCELLED', 'The caller has ended the stream'));
  }
}
