import type { Clock } from '../../common/clock.js';
import type { MemberId } from '../../common/identity.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from './message-stream.js';

/** As many messages may be on the way before `write` asks the sender to wait. */
const HIGH_WATER = 16;

/** What one direction of a stream asks of its network: none, when both ends are of one process. */
export interface PipeRules {
  readonly clock: Clock;
  /** Runs it in a later turn of the event loop. */
  readonly defer: (run: () => void) => void;
  delayMs(): number;
  /** While true nothing arrives, and nothing is lost. */
  stalled(): boolean;
}

/** One direction: first in, first out, each parcel after the network's delay. */
class Pipe {
  private readonly parcels: { due: number; deliver: () => void }[] = [];
  private lastDue = 0;
  private waiting = false;

  constructor(
    private readonly rules: PipeRules,
    /** While true the reader does not read. */
    private readonly paused: () => boolean,
  ) {}

  get length(): number {
    return this.parcels.length;
  }

  push(deliver: () => void): void {
    this.lastDue = Math.max(this.lastDue, this.rules.clock.now().mono + this.rules.delayMs());
    this.parcels.push({ due: this.lastDue, deliver });
    this.pump();
  }

  clear(): void {
    this.parcels.length = 0;
  }

  pump(): void {
    const [first] = this.parcels;
    if (!first || this.waiting || this.stopped) return;
    this.waiting = true;
    const wait = first.due - this.rules.clock.now().mono;
    const arrive = (): void => {
      this.waiting = false;
      this.deliverDue();
      this.pump();
    };
    if (wait > 0) this.rules.clock.after(wait, arrive);
    else this.rules.defer(arrive);
  }

  private deliverDue(): void {
    const now = this.rules.clock.now().mono;
    while (this.parcels[0] && this.parcels[0].due <= now && !this.stopped) this.parcels.shift()?.deliver();
  }

  private get stopped(): boolean {
    return this.rules.stalled() || this.paused();
  }
}

/** One end of an in-memory stream. */
export class MemoryStream implements MessageStream {
  peer: MemoryStream | undefined;
  private events: MessageStreamEvents | undefined;
  private over = false;
  private full = false;
  private paused = false;
  private readonly pipe: Pipe;

  constructor(
    readonly from: MemberId,
    readonly to: MemberId,
    private readonly rules: PipeRules,
    /** Sees each message as it is about to arrive; false when the connection breaks instead. */
    private readonly passes: (message: Uint8Array) => boolean,
    /** Nothing will come from this end any more. */
    private readonly done: (stream: MemoryStream) => void,
  ) {
    this.pipe = new Pipe(rules, () => this.peer?.paused === true);
  }

  get remote(): string {
    return this.to.address || this.to.incarnation;
  }

  attach(events: MessageStreamEvents): void {
    this.events = events;
  }

  admitted(): void {
    // Nobody is a stranger in one process.
  }

  write(message: Uint8Array, written: () => void): boolean {
    if (this.over) return true;
    this.pipe.push(() => this.deliver(message, written));
    this.full = this.pipe.length >= HIGH_WATER;
    return !this.full;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.peer?.pump();
  }

  end(): void {
    if (this.over) return;
    this.finish();
    this.rules.clock.after(LINGER_MS, () => {
      if (this.peer?.paused === true) this.peer.break('connection reset');
    });
  }

  finish(): void {
    if (this.over) return;
    this.over = true;
    this.resume();
    this.pipe.push(() => {
      this.done(this);
      this.peer?.break('the peer ended it');
    });
  }

  /** The connection is gone, with what was on the way from here. Without a reason nobody is left to be told. */
  break(reason?: string): void {
    this.pipe.clear();
    this.done(this);
    if (this.over) return;
    this.over = true;
    if (reason !== undefined) this.events?.closed(reason);
  }

  /** The rules have changed. */
  pump(): void {
    this.pipe.pump();
  }

  private deliver(message: Uint8Array, written: () => void): void {
    if (!this.passes(message)) {
      this.peer?.break('connection reset');
      this.break('connection reset');
      return;
    }
    // As over a network, the two ends share no memory: from here on the writer may use its own again.
    const copy = Uint8Array.prototype.slice.call(message);
    written();
    if (this.peer && !this.peer.over) this.peer.events?.message(copy);
    if (this.full && !this.over && this.pipe.length === 0) {
      this.full = false;
      this.events?.drained();
    }
  }
}
