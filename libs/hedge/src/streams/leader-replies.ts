import { atCaller, HedgeError, messageOf } from '../common/errors.js';
import type { Exchange } from './exchange.js';
import { watchIdle } from './idle.js';
import { sinkOf } from './item-writer.js';
import { type GivenUp, iterateUntilLeft } from './iteration.js';
import { type SourceOver, SourceReader, type StreamSource } from './source.js';
import type { StreamCaller } from './stream-caller.js';
import { type StreamOptions, stoodStill, tookTooLong } from './stream-options.js';

export interface LeaderStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly source: StreamSource;
  readonly options: StreamOptions;
}

/** Feeds a source to the leader's handler, and gives its replies. Begins with the first `next()`. */
export function leaderReplies(init: LeaderStreamInit): AsyncIterableIterator<unknown, void> {
  const source = new SourceReader(init.source);
  return iterateUntilLeft(
    init.options.signal,
    (givenUp) => exchangeItems({ ...init, source }, givenUp),
    () => source.leave(),
  );
}

async function* exchangeItems(
  { caller, topic, source, options }: Omit<LeaderStreamInit, 'source'> & { readonly source: SourceReader },
  givenUp: GivenUp,
): AsyncGenerator<unknown, void> {
  const { timeoutMs, idleTimeoutMs, signal } = options;
  const { clock, codec } = caller;
  const stops: (() => void)[] = [];
  let exchange: Exchange | undefined;
  let sourceFailure: { readonly error: unknown } | undefined;
  source.onEarlyFailure((error) => {
    sourceFailure = { error };
    givenUp.because(error);
  });
  try {
    if (timeoutMs !== undefined) {
      stops.push(clock.after(timeoutMs, () => givenUp.because(tookTooLong(topic, timeoutMs)), true));
    }
    const opened = (exchange = await caller.openAtLeader(topic, givenUp.signal));
    if (idleTimeoutMs !== undefined) {
      const moved = (): number => opened.writer.taken + opened.progress.received;
      stops.push(watchIdle(clock, idleTimeoutMs, moved, () => givenUp.because(stoodStill(topic, idleTimeoutMs))));
    }
    const sourceOver: SourceOver = (failure) => {
      sourceFailure = failure;
      if (failure === undefined) void opened.writer.end();
      else opened.sourceFailed(messageOf(failure.error));
    };
    // Also while the consumer is busy with a reply.
    opened.signal.addEventListener('abort', () => source.leave(), { once: true });
    source.feed(sinkOf(opened.writer, topic, codec), sourceOver);
    for await (const reply of opened.replies()) yield reply;
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure.error;
    const reason: unknown = givenUp.signal.aborted ? givenUp.signal.reason : error;
    if (reason === signal?.reason) throw reason;
    if (exchange === undefined || !(reason instanceof HedgeError)) throw atCaller(reason);
    throw atCaller(exchange.explain(reason));
  } finally {
    for (const stop of stops) stop();
    exchange?.close(new HedgeError('CANCELLED', 'The stream is over for its caller'));
  }
}
