import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Encoded } from '../messaging/message.js';
import type { BoundedQueue } from './bounded-queue.js';
import type { Exchange } from './exchange.js';
import { watchIdle } from './idle.js';
import type { StreamCaller } from './stream-caller.js';
import { type StreamOptions, stoodStill, tookTooLong } from './stream-options.js';

/** A reply of one member to a broadcast stream, or its end. Survives `JSON.stringify`. */
export type BroadcastStreamEvent<Reply = unknown> =
  | { readonly type: 'reply'; readonly member: MemberId; readonly value: Reply }
  | {
      readonly type: 'end';
      readonly member: MemberId;
      /** Why it ended too early, `details` with how far it got; undefined when its handler had finished. */
      readonly error?: HedgeError;
    };

/** A member that takes nothing for so long, though something waits for it, no longer holds up the others. */
const DEFAULT_IDLE_TIMEOUT_MS = 30_000;

export interface MemberStreamInit {
  readonly caller: StreamCaller;
  readonly topic: string;
  readonly member: MemberId;
  readonly options: StreamOptions;
  readonly queue: BoundedQueue<BroadcastStreamEvent>;
}

/** One member's part in a broadcast stream. Whatever goes wrong with it ends it alone. */
export class MemberStream {
  readonly #stop = new AbortController();
  readonly #stops: (() => void)[] = [];
  #exchange: Exchange | undefined;
  /** The caller has not taken its last replies yet. */
  #held = false;
  /** Lets whoever waits for room go, since there will be none. */
  #release: (() => void) | undefined;

  constructor(private readonly init: MemberStreamInit) {}

  /** Resolves when the member has accepted, or is known not to. @returns its replies, put until it ends. */
  async open(): Promise<{ readonly replies: Promise<void> }> {
    const { caller, topic, member, options } = this.init;
    const { timeoutMs, idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
    if (timeoutMs !== undefined) {
      this.#stops.push(caller.clock.after(timeoutMs, () => this.stop(tookTooLong(topic, timeoutMs)), true));
    }
    try {
      const exchange = (this.#exchange = await caller.openAt(member, topic, this.#stop.signal));
      let moves = 0;
      const moved = (): number => (exchange.writer.blocked && !this.#held ? exchange.writer.taken : (moves -= 1));
      this.#stops.push(
        watchIdle(caller.clock, idleTimeoutMs, moved, () => this.stop(stoodStill(topic, idleTimeoutMs))),
      );
      return { replies: this.#take(exchange) };
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

  /** True while it takes messages, as far as known. */
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

  /** Ends it with an error; its end is still told. */
  stop(reason: unknown): void {
    this.#stop.abort(reason);
  }

  /** Nothing of it is wanted any more. Idempotent. */
  close(reason: HedgeError): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.stop(reason);
    this.#exchange?.close(reason);
    this.#exchange = undefined;
    this.#release?.();
  }

  async #take(exchange: Exchange): Promise<void> {
    const { member, queue } = this.init;
    try {
      for await (const value of exchange.replies()) {
        const held = queue.put({ type: 'reply', member, value });
        if (held === undefined) continue;
        this.#held = true;
        await held;
        this.#held = false;
      }
    } catch (error) {
      return await this.#ended(error instanceof HedgeError ? exchange.explain(error) : error);
    }
    // First, so that nobody waits for it any more.
    this.close(new HedgeError('CANCELLED', 'The handler has ended its replies'));
    await queue.put({ type: 'end', member });
  }

  async #ended(thrown: unknown): Promise<void> {
    const { member, queue, topic } = this.init;
    const error =
      thrown instanceof HedgeError
        ? thrown
        : new HedgeError('CANCELLED', `Stream '${topic}' was given up: ${messageOf(thrown)}`, { cause: thrown });
    this.close(error);
    await queue.put({ type: 'end', member, error });
  }
}
