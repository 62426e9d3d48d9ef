import { HedgeError } from '../common/errors.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { PeerStream } from '../transport/streams/peer-stream.js';
import { itemsOf } from './item-frames.js';
import { ItemWriter, type StreamLimits } from './item-writer.js';

/** What became of a stream until it ended. In the `details` of its errors. */
export interface StreamProgress {
  /** UUID that the handler saw as `ctx.requestId`. */
  readonly requestId: string;
  /** Messages of the source that were handed over. The handler may not have read all of them. */
  readonly sent: number;
  /** Replies that came. */
  readonly received: number;
}

export interface ExchangeInit {
  readonly stream: PeerStream;
  /** The stream's, past the word that it was accepted. */
  readonly frames: AsyncIterator<Uint8Array>;
  readonly topic: string;
  readonly requestId: string;
  readonly codec: PayloadCodec;
  readonly limits: StreamLimits;
  /** Runs when the caller is done with it. */
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

  /** Aborts when the stream fails, is cancelled or given up: at once, also when there are replies to be read. */
  get signal(): AbortSignal {
    return this.init.stream.signal;
  }

  /** Once. Ends with the handler's replies, and throws what the stream failed with. */
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

  /** Ends what has not ended yet. To be called when nothing more is wanted; idempotent. */
  close(reason: HedgeError): void {
    this.init.stream.cancel(reason);
    this.init.over();
  }

  /** The source failed: the handler reads all that came before, then throws. */
  sourceFailed(message: string): void {
    this.writer.fail(new HedgeError('CANCELLED', `The source of stream '${this.init.topic}' failed: ${message}`));
  }

  /** An error of the stream, with how far it got. It is never to be tried again blindly: the handler has begun. */
  explain(error: HedgeError): HedgeError {
    const { sent, received } = this.progress;
    return new HedgeError(
      error.code,
      `Stream '${this.init.topic}' ended after ${sent} messages and ${received} replies: ${error.message}`,
      { details: { ...error.details, ...this.progress }, retryable: false, cause: error },
    );
  }
}
