import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { BoundedQueue } from './bounded-queue.js';
import type { ItemSink } from './item-writer.js';
import { type GivenUp, iterateUntilLeft } from './iteration.js';
import { type BroadcastStreamEvent, MemberStream } from './member-stream.js';
import { type SourceOver, SourceReader, type StreamSource } from './source.js';
import type { StreamCaller } from './stream-caller.js';
import type { StreamOptions } from './stream-options.js';

/** Replies that may wait for the caller, of all members. */
const MAX_WAITING_EVENTS = 256;

export interface BroadcastStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly source: StreamSource;
  readonly options: StreamOptions;
  /** Asked when the iteration begins. Throws when nobody can be asked. */
  readonly members: () => readonly MemberId[];
}

/** Feeds a source to the handlers of many members, and gives the replies of all as they come. */
export function broadcastReplies(init: BroadcastStreamInit): AsyncIterableIterator<BroadcastStreamEvent, void> {
  const source = new SourceReader(init.source);
  return iterateUntilLeft(
    init.options.signal,
    (givenUp) => exchangeWithAll({ ...init, source }, givenUp),
    () => source.leave(),
  );
}

async function* exchangeWithAll(
  { caller, topic, source, options, members }: Omit<BroadcastStreamInit, 'source'> & { readonly source: SourceReader },
  givenUp: GivenUp,
): AsyncGenerator<BroadcastStreamEvent, void> {
  await caller.started(topic);
  const queue = new BoundedQueue<BroadcastStreamEvent>(MAX_WAITING_EVENTS);
  const streams = members().map((member) => new MemberStream({ caller, topic, member, options, queue }));
  let sourceFailure: { error: unknown } | undefined;
  const abort = (): void => {
    for (const stream of streams) stream.stop(givenUp.signal.reason);
    queue.close();
  };
  givenUp.signal.addEventListener('abort', abort, { once: true });
  source.onEarlyFailure((error) => {
    sourceFailure = { error };
    givenUp.because(error);
  });
  try {
    // The source is read once for all, so none is read before everybody is there or known not to be.
    const opened = await Promise.all(streams.map((stream) => stream.open()));
    givenUp.signal.throwIfAborted();
    void Promise.all(opened.map(({ replies }) => replies)).then(() => {
      queue.close();
      source.leave();
    });
    const sourceOver: SourceOver = (failure) => {
      if (failure === undefined) return streams.forEach((stream) => stream.sourceEnded());
      sourceFailure = failure;
      for (const stream of streams) stream.sourceFailed(messageOf(failure.error));
      queue.close();
    };
    source.feed(toAll(streams, topic, caller), sourceOver);
    for (let event = await queue.take(); event !== undefined; event = await queue.take()) yield event;
    if (sourceFailure !== undefined) throw sourceFailure.error;
    givenUp.signal.throwIfAborted();
  } finally {
    for (const stream of streams) stream.close(new HedgeError('CANCELLED', 'The stream is over for its caller'));
  }
}

/** Each item is encoded once, and waits for the slowest member that still takes any; without one there is no room. */
function toAll(streams: readonly MemberStream[], topic: string, { codec }: StreamCaller): ItemSink {
  return {
    push(value) {
      const item = codec.encode(topic, value);
      for (const stream of streams) stream.push(item);
    },
    room() {
      if (!streams.some(({ live }) => live)) return new Promise(() => undefined);
      const rooms = streams.flatMap((stream) => stream.room() ?? []);
      return rooms.length === 0 ? undefined : Promise.all(rooms).then(() => undefined);
    },
  };
}
