import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Encoded } from '../messaging/message.js';
import type { BoundedQueue } from './bounded-queue.js';
import type { Exchange } from './exchange.js';
import { watchIdle } from './idle.js';
import type { StreamCaller } from './stream-caller.js';
import type { OpenSpan } from '../telemetry/tracing.js';
import { type StreamOptions, idleTooLong, timedOut } from './stream-options.js';

/** A reply of one member to a broadcast stream, or the end of its replies. Has a JSON form. */
export type BroadcastStreamEvent<Reply = unknown> =
  | { readonly type: 'reply'; readonly member: MemberId; readonly value: Reply }
  | {
      readonly type: 'end';
      readonly member: MemberId;
      /** The reason of an early end, with the progress in `details`; undefined when the handler had finished. */
      readonly error?: HedgeError;
    };

/** A member that reads no waiting message for this time is dropped, so that the others need not wait for it. */
const DEFAULT_IDLE_TIMEOUT_MS = 30_000;

export interface MemberStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly member: MemberId;
  readonly options: StreamOptions;
  readonly queue: BoundedQueue<BroadcastStreamEvent>;
}

/** The exchange with one member of a broadcast stream. A failure ends only this exchange. */
export class MemberStream {
  readonly #stop = new AbortController();
  readonly #stops: (() => void)[] = [];
  #exchange: Exchange | undefined;
  #span: OpenSpan | undefined;
  /** The queue is full: the caller has not read the replies yet. */
  #queueFull = false;
  /** Resolves a pending `room()`. */
  #release: (() => void) | undefined;

  constructor(private readonly init: MemberStreamInit) {}

  /** Resolves when the member has accepted or refused. `replies` resolves when all of its replies are in the queue. */
  async open(): Promise<{ readonly replies: Promise<void> }> {
    const { caller, topic, member, options } = this.init;
    const { timeoutMs, idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
    const span = (this.#span = caller.begin('broadcast-stream', topic));
    if (timeoutMs !== undefined) {
      this.#stops.push(caller.clock.after(timeoutMs, () => this.stop(timedOut(topic, timeoutMs)), true));
    }
    try {
      const exchange = (this.#exchange = await caller.openAt(member, topic, this.#stop.signal, span.trace));
      let changes = 0;
      const progress = (): number =>
        exchange.writer.blocked && !this.#queueFull ? exchange.writer.framesWritten : (changes -= 1);
      this.#stops.push(
        watchIdle(caller.clock, idleTimeoutMs, progress, () => this.stop(idleTooLong(topic, idleTimeoutMs))),
      );
      return { replies: this.#forward(exchange) };
    } catch (error) {
      return { replies: this.#ended(error) };
    }
  }

  push(item: Encoded): void {
    try {
      this.#exchange?.writer.push(this.init.topic, item);
    } catch (error) {
      this.stop(error);
    }
  }

  /** True while the member accepts messages, as far as this pod knows. */
  get live(): boolean {
    return this.#exchange !== undefined;
  }

  room(): Promise<void> | undefined {
    const room = this.#exchange?.writer.room();
    if (room === undefined) return undefined;
    return new Promise((resolve) => {
      this.#release = resolve;
      void room.then(resolve);
    });
  }

  sourceEnded(): void {
    void this.#exchange?.writer.end();
  }

  sourceFailed(message: string): void {
    this.#exchange?.sourceFailed(message);
  }

  /** Ends the exchange with an error, which its `end` event reports. */
  stop(reason: unknown): void {
    this.#stop.abort(reason);
  }

  /** Ends the exchange. Idempotent. */
  close(reason: HedgeError): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.stop(reason);
    this.#exchange?.close(reason);
    this.#exchange = undefined;
    this.#release?.();
  }

  async #forward(exchange: Exchange): Promise<void> {
    const { member, queue } = this.init;
    try {
      for await (const value of exchange.replies()) {
        const room = queue.put({ type: 'reply', member, value });
        if (room === undefined) continue;
        this.#queueFull = true;
        await room;
        this.#queueFull = false;
      }
    } catch (error) {
      return await this.#ended(error instanceof HedgeError ? exchange.explain(error) : error);
    }
    this.#span?.end();
    // First of all, so that the source does not wait for this member any more.
    this.close(new HedgeError('CANCELLED', 'The handler has ended its replies'));
    await queue.put({ type: 'end', member });
  }

  async #ended(thrown: unknown): Promise<void> {
    const { member, queue, topic } = this.init;
    const error =
      thrown instanceof HedgeError
        ? thrown
        : new HedgeError('CANCELLED', `Stream '${topic}' was cancelled: ${messageOf(thrown)}`, { cause: thrown });
    this.#span?.end(error);
    this.close(error);
    await queue.put({ type: 'end', member, error });
  }
}
