import { HedgeError, messageOf } from '../common/errors.js';
import type { Exchange } from './exchange.js';
import { watchIdle } from './idle.js';
import { sinkOf } from './item-writer.js';
import { type GivenUp, iterateUntilLeft } from './iteration.js';
import { feed, type StreamSource } from './source.js';
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
  return iterateUntilLeft(init.options.signal, (givenUp) => exchangeItems(init, givenUp));
}

async function* exchangeItems(
  { caller, topic, source, options }: LeaderStreamInit,
  givenUp: GivenUp,
): AsyncGenerator<unknown, void> {
  const { timeoutMs, idleTimeoutMs, signal } = options;
  const { clock, codec } = caller;
  const stops: (() => void)[] = [];
  let exchange: Exchange | undefined;
  let sourceFailure: { error: unknown } | undefined;
  try {
    if (timeoutMs !== undefined) {
      stops.push(clock.after(timeoutMs, () => givenUp.because(tookTooLong(topic, timeoutMs)), true));
    }
    const opened = (exchange = await caller.openAtLeader(topic, givenUp.signal));
    if (idleTimeoutMs !== undefined) {
      const moved = (): number => opened.writer.taken + opened.progress.received;
      stops.push(watchIdle(clock, idleTimeoutMs, moved, () => givenUp.because(stoodStill(topic, idleTimeoutMs))));
    }
    const sourceOver = (failure?: { error: unknown }): void => {
      if (failure === undefined) return void opened.writer.end();
      sourceFailure = failure;
      opened.sourceFailed(messageOf(failure.error));
    };
    stops.push(feed(source, sinkOf(opened.writer, topic, codec), sourceOver));
    for await (const reply of opened.replies()) yield reply;
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure.error;
    const reason: unknown = givenUp.signal.aborted ? givenUp.signal.reason : error;
    if (exchange === undefined || !(reason instanceof HedgeError) || reason === signal?.reason) throw reason;
    throw exchange.explain(reason);
  } finally {
    for (const stop of stops) stop();
    exchange?.close(new HedgeError('CANCELLED', 'The stream is over for its caller'));
  }
}
