import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { mayArrive } from './frames.js';
import type { MessageStream } from '../streams/message-stream.js';
import type { Outbox } from './outbox.js';
import { hostOf } from '../handshake/pending-by-host.js';
import type { RefusalLog } from '../handshake/refusal-log.js';
import type { FrameBody, Link, TransportEvents } from '../transport.js';
import { Envelope } from '../../wire/hedge/v1/link.js';

export interface StreamLinkInit {
  readonly peer: MemberId;
  readonly direction: 'dialled' | 'accepted';
  readonly resumed: boolean;
  readonly stream: MessageStream;
  readonly outbox: Outbox;
  readonly events: TransportEvents;
  readonly log: RefusalLog;
  /** Removes the link from the transport. Runs before the close event. */
  readonly forget: (link: StreamLink) => void;
}

/** A link over one message stream, after its handshake. */
export class StreamLink implements Link {
  readonly peer: MemberId;
  readonly direction: 'dialled' | 'accepted';
  readonly resumed: boolean;
  #isOpen = true;
  #wasUsed = true;

  constructor(private readonly init: StreamLinkInit) {
    this.peer = init.peer;
    this.direction = init.direction;
    this.resumed = init.resumed;
  }

  /** Attaches to the stream after the handshake, and reports the link as open. */
  start(): void {
    const { stream, outbox, events } = this.init;
    stream.attach({
      message: (message) => this.#receive(message),
      drained: () => outbox.drained(),
      closed: (reason) => this.#lost(`The link to ${this.#name} was lost: ${reason}`),
    });
    this.#guard(() => events.opened(this));
  }

  get open(): boolean {
    return this.#isOpen;
  }

  get queuedBytes(): number {
    return this.init.outbox.queuedBytes;
  }

  send(body: FrameBody, mayUseReserve?: boolean): void {
    if (!this.#isOpen) return;
    this.#wasUsed = true;
    try {
      this.init.outbox.push(body, mayUseReserve);
    } catch (error) {
      // A frame that cannot be encoded breaks the envelope, and so loses the frames before it.
      if (!(error instanceof HedgeError)) this.#lost(`A ${body.$case} to ${this.#name} could not be encoded`);
      throw error;
    }
  }

  acknowledge(sequence: number): void {
    if (this.#isOpen) this.init.outbox.acknowledge(sequence);
  }

  close(): void {
    this.end(new HedgeError('MEMBER_UNREACHABLE', `This pod closed its link to ${this.#name}`));
  }

  /** Closes the link: queued frames are still sent, later incoming frames are dropped. */
  end(reason: HedgeError): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.init.outbox.finish();
    this.init.stream.end();
    this.init.forget(this);
    this.#guard(() => this.init.events.closed(this, reason));
  }

  #lost(message: string): void {
    if (!this.#isOpen) return;
    this.init.outbox.stop();
    this.end(new HedgeError('MEMBER_UNREACHABLE', message, { details: { address: this.peer.address } }));
  }

  /** Whether a frame was sent or received since the last call. */
  takeUse(): boolean {
    const used = this.#wasUsed;
    this.#wasUsed = false;
    return used;
  }

  #receive(message: Uint8Array): void {
    this.#wasUsed = true;
    const envelope = decode(message);
    const stray = envelope?.frames.find(({ body }) => body && !mayArrive(body, this.direction))?.body;
    if (!envelope || stray || (envelope.acknowledged.length > 0 && this.direction === 'dialled')) {
      const what = stray
        ? `a ${stray.$case}, which the protocol forbids in this direction`
        : 'a message that is not an envelope of frames';
      this.init.log.warn(hostOf(this.init.stream.remote), `Closing the link to ${this.#name}: it sent ${what}`);
      this.#lost(`The link to ${this.#name} was closed: the member sent ${what}`);
      return;
    }
    const { events } = this.init;
    if (envelope.acknowledged.length > 0) this.#guard(() => events.acknowledged(this, envelope.acknowledged));
    for (const { body } of envelope.frames) {
      // A frame of an unknown kind, from a newer version, has no body here.
      if (body && this.#isOpen) this.#guard(() => events.frame(this, body));
    }
  }

  #guard(notify: () => void): void {
    try {
      notify();
    } catch (error) {
      this.init.log.error(
        this.#name,
        `A listener of the link to ${this.#name} threw`,
        error instanceof Error ? error.stack : error,
      );
    }
  }

  get #name(): string {
    return this.peer.address || `client ${this.peer.incarnation}`;
  }
}

function decode(message: Uint8Array): Envelope | undefined {
  try {
    return Envelope.decode(message);
  } catch {
    return undefined;
  }
}
