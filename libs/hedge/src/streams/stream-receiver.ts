import { asHedgeError, HedgeError } from '../common/errors.js';
import { RunningWork } from '../common/running-work.js';
import type { MemberId } from '../common/identity.js';
import { type LeaderRoute, notLeading } from '../messaging/leader-route.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { HandlerFigures } from '../messaging/server/handler-figures.js';
import { MAX_TOPIC_LENGTH } from '../messaging/topics.js';
import type { PeerStream, StreamTransport } from '../transport/streams/peer-stream.js';
import { HandlerStream } from '../wire/hedge/v1/stream.js';
import { itemsOf } from './item-frames.js';
import { type ItemSink, ItemWriter, sinkOf, type StreamLimits } from './item-writer.js';
import type { Clock } from '../common/clock.js';
import type { TraceContext } from '../telemetry/tracing.js';
import type { Metrics } from '../telemetry/metrics.js';

/** A stream as a handler receives it. */
export interface IncomingStream {
  readonly topic: string;
  readonly caller: MemberId;
  /** UUID of this stream. */
  readonly requestId: string;
  /** A stream has one attempt. */
  readonly attempt: 1;
  /** The term in which it runs; 0n for a broadcast. */
  readonly epoch: bigint;
  /** The trace of the caller. */
  readonly trace: TraceContext;
  /** Aborts when the caller cancelled or was lost. For a leader stream, also when the lease is lost. */
  readonly signal: AbortSignal;
  /** The messages of the caller; to be read once. Throws the error of the stream. */
  readonly input: AsyncIterable<unknown>;
  readonly replies: ItemSink;
}

export interface StreamHandlers {
  /** @throws HedgeError NO_HANDLER: the stream is refused before the caller sends anything. */
  check(topic: string): void;
  /** Resolves when all replies were pushed. Its error reaches the caller after the replies. */
  run(stream: IncomingStream): Promise<void>;
}

export interface StreamReceiverOptions {
  readonly transport: StreamTransport;
  readonly route: LeaderRoute;
  readonly codec: PayloadCodec;
  readonly limits: StreamLimits;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly figures?: HandlerFigures;
  readonly leader: StreamHandlers;
  readonly broadcast: StreamHandlers;
}

/** Runs the streams that other pods, and this pod itself, open to handlers of this pod. */
export class StreamReceiver {
  readonly #options: StreamReceiverOptions;
  /** Running leader streams, and their terms. */
  readonly #running = new Map<PeerStream, bigint>();
  /** Leader streams of this term, and of earlier terms, are not accepted any more. */
  #drainedEpoch = 0n;
  readonly #leaderStreams = new RunningWork();
  #refusesBroadcasts = false;
  readonly #broadcasts = new RunningWork();

  constructor(options: StreamReceiverOptions) {
    this.#options = options;
    const { transport, route } = options;
    transport.serveStreams('leader-stream', (stream, opening) => this.#receiveAsLeader(stream, openingOf(opening)));
    transport.serveStreams('broadcast-stream', (stream, opening) => this.#receiveBroadcast(stream, openingOf(opening)));
    route.onChange(() => this.#leaderChanged());
  }

  /**
   * Accepts no more leader streams of this term, and resolves when none runs. Streams that still run when the lease is
   * released fail with LEASE_LOST.
   */
  drain(epoch: bigint): Promise<void> {
    if (epoch > this.#drainedEpoch) this.#drainedEpoch = epoch;
    return this.#leaderStreams.ended();
  }

  /** Rejects new broadcast streams with SHUTTING_DOWN, and resolves when none runs. */
  drainBroadcasts(): Promise<void> {
    this.#refusesBroadcasts = true;
    return this.#broadcasts.ended();
  }

  #leaderChanged(): void {
    for (const [stream, epoch] of this.#running) {
      if (this.#options.route.leads(epoch)) continue;
      stream.cancel(new HedgeError('LEASE_LOST', 'This pod is not the leader any more'));
    }
  }

  async #receiveAsLeader(stream: PeerStream, opening: HandlerStream): Promise<void> {
    const { epoch } = opening;
    if (epoch <= this.#drainedEpoch || !this.#options.route.leads(epoch)) throw notLeading();
    this.#running.set(stream, epoch);
    this.#leaderStreams.begin();
    try {
      await this.#run('leader-stream', stream, opening);
    } finally {
      this.#running.delete(stream);
      this.#leaderStreams.end();
    }
  }

  async #receiveBroadcast(stream: PeerStream, opening: HandlerStream): Promise<void> {
    if (this.#refusesBroadcasts) {
      throw new HedgeError('SHUTTING_DOWN', 'The stream was not opened: the pod that was asked is stopping');
    }
    this.#broadcasts.begin();
    try {
      await this.#run('broadcast-stream', stream, opening);
    } finally {
      this.#broadcasts.end();
    }
  }

  async #run(
    kind: 'leader-stream' | 'broadcast-stream',
    stream: PeerStream,
    { topic, id, epoch, traceparent, tracestate }: HandlerStream,
  ): Promise<void> {
    const { codec, limits, clock, metrics, figures, leader, broadcast } = this.#options;
    const handlers = kind === 'leader-stream' ? leader : broadcast;
    if (topic.length > MAX_TOPIC_LENGTH) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `The topic has ${topic.length} characters; at most ${MAX_TOPIC_LENGTH} are allowed`,
      );
    }
    handlers.check(topic);
    // An empty message accepts the stream.
    await stream.write(new Uint8Array(0));
    const writer = new ItemWriter(stream, limits);
    const start = clock.now().mono;
    let code = 'OK';
    try {
      await handlers.run({
        topic,
        caller: stream.peer,
        requestId: id,
        attempt: 1,
        epoch,
        trace: { traceparent, tracestate },
        signal: stream.signal,
        input: inputOf(stream, topic, codec),
        replies: sinkOf(writer, topic, codec),
      });
      await writer.end();
    } catch (error) {
      const failure = asHedgeError(error, 'HANDLER_FAILED');
      code = failure.code;
      writer.fail(failure);
    }
    const ms = clock.now().mono - start;
    metrics.record('hedge.handler.duration', ms / 1_000, { kind, code, topic });
    figures?.record(kind === 'leader-stream' ? 'leaderStream' : 'broadcastStream', topic, code, ms);
  }
}

/** The messages of a stream. A handler that stops reading only makes its caller wait, and may still reply. */
function inputOf(stream: PeerStream, topic: string, codec: PayloadCodec): AsyncIterable<unknown> {
  async function* items(): AsyncGenerator<unknown, void> {
    const frames = stream[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await frames.next();
      if (done === true) return;
      for (const item of itemsOf(value)) {
        yield codec.decode(topic, item);
      }
    }
  }
  return items();
}

function openingOf(bytes: Uint8Array): HandlerStream {
  try {
    return HandlerStream.decode(bytes);
  } catch (cause) {
    throw new HedgeError('INVALID_ARGUMENT', 'The stream was not opened: its first message cannot be decoded', {
      cause,
    });
  }
}
