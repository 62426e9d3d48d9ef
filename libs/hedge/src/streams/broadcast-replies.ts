import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { BoundedQueue } from './bounded-queue.js';
import type { ItemSink } from './item-writer.js';
import { type Cancellation, iterateUntilLeft } from './iteration.js';
import { type BroadcastStreamEvent, MemberStream } from './member-stream.js';
import { type SourceOver, SourceReader, type StreamSource } from './source.js';
import type { StreamCaller } from './stream-caller.js';
import type { StreamOptions } from './stream-options.js';

/** Limit of the replies of all members that wait for the caller. */
const MAX_WAITING_EVENTS = 256;

export interface BroadcastStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly source: StreamSource;
  readonly options: StreamOptions;
  /** Called when the iteration begins. Throws when there is no member to call. */
  readonly members: () => readonly MemberId[];
}

/** Feeds a source to the handlers of many members, and yields their replies as they arrive. */
export function broadcastReplies(init: BroadcastStreamInit): AsyncIterableIterator<BroadcastStreamEvent, void> {
  const source = new SourceReader(init.source);
  return iterateUntilLeft(
    init.options.signal,
    (cancellation) => exchangeWithAll({ ...init, source }, cancellation),
    () => source.leave(),
  );
}

async function* exchangeWithAll(
  { caller, topic, source, options, members }: Omit<BroadcastStreamInit, 'source'> & { readonly source: SourceReader },
  cancellation: Cancellation,
): AsyncGenerator<BroadcastStreamEvent, void> {
  await caller.started(topic);
  const queue = new BoundedQueue<BroadcastStreamEvent>(MAX_WAITING_EVENTS);
  const streams = members().map((member) => new MemberStream({ caller, topic, member, options, queue }));
  let sourceFailure: { error: unknown } | undefined;
  const abort = (): void => {
    for (const stream of streams) stream.stop(cancellation.signal.reason);
    queue.close();
  };
  cancellation.signal.addEventListener('abort', abort, { once: true });
  source.onEarlyFailure((error) => {
    sourceFailure = { error };
    cancellation.cancel(error);
  });
  try {
    // All members read one source, so it is not read before each member has accepted or refused the stream.
    const opened = await Promise.all(streams.map((stream) => stream.open()));
    cancellation.signal.throwIfAborted();
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
    cancellation.signal.throwIfAborted();
  } finally {
    for (const stream of streams) stream.close(new HedgeError('CANCELLED', 'The caller has ended the stream'));
  }
}

/** Encodes each item once, and waits for the slowest live member. Without a live member there is never room. */
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
