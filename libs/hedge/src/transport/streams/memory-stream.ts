import type { Clock } from '../../common/clock.js';
import type { MemberId } from '../../common/identity.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from './message-stream.js';

/** The number of messages in flight at which `write` returns false. */
const HIGH_WATER = 16;

/** The behaviour of the network for one direction of a stream. */
export interface PipeRules {
  readonly clock: Clock;
  /** Runs a function in a later turn of the event loop. */
  readonly defer: (run: () => void) => void;
  delayMs(): number;
  /** While true, no message arrives, and none is lost. */
  stalled(): boolean;
}

/** One direction of a stream: first in, first out, each message after the delay of the network. */
class Pipe {
  readonly #parcels: { due: number; deliver: () => void }[] = [];
  #lastDue = 0;
  #waiting = false;

  constructor(
    private readonly rules: PipeRules,
    /** While true, the reader does not read. */
    private readonly paused: () => boolean,
  ) {}

  get length(): number {
    return this.#parcels.length;
  }

  push(deliver: () => void): void {
    this.#lastDue = Math.max(this.#lastDue, this.rules.clock.now().mono + this.rules.delayMs());
    this.#parcels.push({ due: this.#lastDue, deliver });
    this.pump();
  }

  clear(): void {
    this.#parcels.length = 0;
  }

  pump(): void {
    const [first] = this.#parcels;
    if (!first || this.#waiting || this.#stopped) return;
    this.#waiting = true;
    const wait = first.due - this.rules.clock.now().mono;
    const arrive = (): void => {
      this.#waiting = false;
      this.#deliverDue();
      this.pump();
    };
    if (wait > 0) this.rules.clock.after(wait, arrive);
    else this.rules.defer(arrive);
  }

  #deliverDue(): void {
    const now = this.rules.clock.now().mono;
    while (this.#parcels[0] && this.#parcels[0].due <= now && !this.#stopped) this.#parcels.shift()?.deliver();
  }

  get #stopped(): boolean {
    return this.rules.stalled() || this.paused();
  }
}

/** One end of an in-memory stream. */
export class MemoryStream implements MessageStream {
  peer: MemoryStream | undefined;
  #events: MessageStreamEvents | undefined;
  #over = false;
  #full = false;
  #paused = false;
  readonly #pipe: Pipe;

  constructor(
    readonly from: MemberId,
    readonly to: MemberId,
    private readonly rules: PipeRules,
    /** Called before each message arrives. Returns false when the connection breaks instead. */
    private readonly passes: (message: Uint8Array) => boolean,
    /** No more messages come from this end. */
    private readonly done: (stream: MemoryStream) => void,
  ) {
    this.#pipe = new Pipe(rules, () => this.peer !== undefined && this.peer.#paused);
  }

  get remote(): string {
    return this.to.address || this.to.incarnation;
  }

  attach(events: MessageStreamEvents): void {
    this.#events = events;
  }

  admitted(): void {
    // Within one process, every peer is trusted.
  }

  write(message: Uint8Array, written: () => void): boolean {
    if (this.#over) return true;
    this.#pipe.push(() => this.#deliver(message, written));
    this.#full = this.#pipe.length >= HIGH_WATER;
    return !this.#full;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.peer?.pump();
  }

  end(): void {
    if (this.#over) return;
    this.finish();
    this.rules.clock.after(LINGER_MS, () => {
      if (this.peer !== undefined && this.peer.#paused) this.peer.break('connection reset');
    });
  }

  finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.resume();
    this.#pipe.push(() => {
      this.done(this);
      this.peer?.break('the peer ended it');
    });
  }

  /** The connection broke, and the messages in flight from this end are lost. Without a reason, no event is sent. */
  break(reason?: string): void {
    this.#pipe.clear();
    this.done(this);
    if (this.#over) return;
    this.#over = true;
    if (reason !== undefined) this.#events?.closed(reason);
  }

  /** The rules have changed. */
  pump(): void {
    this.#pipe.pump();
  }

  #deliver(message: Uint8Array, written: () => void): void {
    if (!this.passes(message)) {
      this.peer?.break('connection reset');
      this.break('connection reset');
      return;
    }
    // As over a network, the two ends share no memory: from now on the writer may reuse its buffer.
    const copy = Uint8Array.prototype.slice.call(message);
    written();
    if (this.peer && !this.peer.#over) this.peer.#events?.message(copy);
    if (this.#full && !this.#over && this.#pipe.length === 0) {
      this.#full = false;
      this.#events?.drained();
    }
  }
}
