import { HedgeError } from '../common/errors.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { PeerStream } from '../transport/streams/peer-stream.js';
import { itemsOf } from './item-frames.js';
import { ItemWriter, type StreamLimits } from './item-writer.js';

/** The progress of a stream until its end. Part of the `details` of its errors. */
export interface StreamProgress {
  /** UUID that the handler received as `ctx.requestId`. */
  readonly requestId: string;
  /** The number of messages of the source that were sent. The handler may not have read all of them. */
  readonly sent: number;
  /** The number of received replies. */
  readonly received: number;
}

export interface ExchangeInit {
  readonly stream: PeerStream;
  /** The frames of the stream after the one that accepts it. */
  readonly frames: AsyncIterator<Uint8Array>;
  readonly topic: string;
  readonly requestId: string;
  readonly codec: PayloadCodec;
  readonly limits: StreamLimits;
  /** Called when the caller has ended the stream. */
  readonly over: () => void;
}

/** The caller's end of one stream that a handler has accepted. */
export class Exchange {
  readonly writer: ItemWriter;
  #received = 0;

  constructor(private readonly init: ExchangeInit) {
    this.writer = new ItemWriter(init.stream, init.limits);
  }

  get progress(): StreamProgress {
    return { requestId: this.init.requestId, sent: this.writer.sent, received: this.#received };
  }

  /** Aborts at once when the stream fails or is cancelled, even with unread replies. */
  get signal(): AbortSignal {
    return this.init.stream.signal;
  }

  /** The replies of the handler; to be iterated once. Throws the error of the stream. */
  async *replies(): AsyncGenerator<unknown, void> {
    const { frames, codec, topic } = this.init;
    for (;;) {
      const { done, value } = await frames.next();
      if (done === true) return;
      for (const item of itemsOf(value)) {
        this.#received += 1;
        yield codec.decode(topic, item);
      }
    }
  }

  /** Ends both directions of the stream. Call it when no more replies are wanted. Idempotent. */
  close(reason: HedgeError): void {
    this.init.stream.cancel(reason);
    this.init.over();
  }

  /** Reports a failure of the source: the handler reads all earlier messages, and then this error. */
  sourceFailed(message: string): void {
    this.writer.fail(new HedgeError('CANCELLED', `The source of stream '${this.init.topic}' failed: ${message}`));
  }

  /** Adds the progress to an error of the stream. The result is never retryable, because the handler has begun. */
  explain(error: HedgeError): HedgeError {
    const { sent, received } = this.progress;
    return new HedgeError(
      error.code,
      `Stream '${this.init.topic}' ended after ${sent} messages and ${received} replies: ${error.message}`,
      { details: { ...error.details, ...this.progress }, retryable: false, cause: error },
    );
  }
}
