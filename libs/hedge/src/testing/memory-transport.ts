import { checkKeys } from '../common/validation/check-keys.js';
import { type Clock, systemClock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { LinkTransport, type LinkTransportOptions } from '../transport/links/link-transport.js';
import { MemoryStream } from '../transport/streams/memory-stream.js';
import type { MessageStream, Network, StreamKind } from '../transport/streams/message-stream.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { FrameBody, Transport } from '../transport/transport.js';
import { Envelope } from '../wire/hedge/v1/link.js';

export interface MemoryNetworkOptions {
  /** Measures delays and timeouts. Default: the clock of the system. */
  readonly clock?: Clock;
  /** Runs a callback in a later turn of the event loop. Default: `setImmediate`. */
  readonly defer?: (run: () => void) => void;
}

/** A frame in transit, for `drop`. */
export interface FrameInFlight {
  readonly from: MemberId;
  readonly to: MemberId;
  readonly body: FrameBody;
}

/**
 * A network inside the process, with faults. Its transports make the same handshakes and follow the same rules for old
 * links as transports over gRPC, because both share all code above the byte stream.
 *
 * @example
 * const network = new MemoryNetwork();
 * const a = network.transport({ address: 'a:1', incarnation: newIncarnation() });
 * const b = network.transport({ address: 'b:1', incarnation: newIncarnation() });
 * a.attach(events, sessions); b.attach(events, sessions);
 * await b.listen();
 * const link = await a.dial({ address: 'b:1' });
 * network.partition(a.self, b.self);
 */
export class MemoryNetwork {
  readonly #clock: Clock;
  readonly #defer: (run: () => void) => void;
  readonly #hosts = new Set<Host>();
  readonly #streams = new Set<MemoryStream>();
  readonly #partitions = new Set<string>();
  readonly #stalls = new Set<string>();
  #delayOf: (from: MemberId, to: MemberId) => number = () => 0;
  #dropped: (frame: FrameInFlight) => boolean = () => false;

  constructor(options: MemoryNetworkOptions = {}) {
    checkKeys('The options of MemoryNetwork', options, ['clock', 'defer']);
    this.#clock = options.clock ?? systemClock;
    this.#defer = options.defer ?? setImmediate;
  }

  /** Creates a transport on this network. Group and secret are the same for all unless set. @internal */
  transport(
    self: MemberId,
    options: Partial<Omit<LinkTransportOptions, 'self' | 'clock'>> = {},
  ): Transport & StreamTransport {
    const host = new Host(self, this);
    this.#hosts.add(host);
    return new LinkTransport(
      { group: 'memory', secret: async () => Buffer.from('memory'), ...options, self, clock: this.#clock },
      host,
      this.#defer,
    );
  }

  /** Breaks the links and streams between the two, and refuses new ones until `heal`. */
  partition(a: MemberId, b: MemberId): void {
    this.#partitions.add(pair(a, b));
    this.cut(a, b);
  }

  /** Breaks the links and streams between the two, with all frames in transit. New ones can be opened. */
  cut(a: MemberId, b: MemberId): void {
    for (const stream of this.#streams) {
      if (pair(stream.from, stream.to) === pair(a, b)) stream.break('connection reset');
    }
  }

  /** Stops all traffic between the two: nothing breaks and nothing arrives until `heal`, then everything arrives. */
  stall(a: MemberId, b: MemberId): void {
    this.#stalls.add(pair(a, b));
  }

  /** Ends partitions and stalls: between the two, or all. */
  heal(a?: MemberId, b?: MemberId): void {
    if (a && b) {
      this.#partitions.delete(pair(a, b));
      this.#stalls.delete(pair(a, b));
    } else {
      this.#partitions.clear();
      this.#stalls.clear();
    }
    for (const stream of this.#streams) stream.pump();
  }

  /** Sets the latency of later messages in milliseconds. The order on a link is kept. */
  delay(ms: number | ((from: MemberId, to: MemberId) => number)): void {
    this.#delayOf = typeof ms === 'number' ? () => ms : ms;
  }

  /** Breaks the connection instead of delivering a message with a matching frame. `undefined` ends that. */
  drop(lost: ((frame: FrameInFlight) => boolean) | undefined): void {
    this.#dropped = lost ?? (() => false);
  }

  /** Simulates `kill -9`: the links of peers break, and the killed transport gets no event and reaches no peer. */
  kill(member: MemberId): void {
    for (const host of this.#hosts) {
      if (host.self.incarnation !== member.incarnation) continue;
      host.dead = true;
      host.accept = undefined;
    }
    for (const stream of this.#streams) {
      if (stream.from.incarnation !== member.incarnation) continue;
      stream.break();
      stream.peer?.break('connection reset');
    }
  }

  /** @internal */
  connect(from: Host, address: string, kind: StreamKind): MessageStream {
    const to = this.listener(address);
    const stream = this.#endpoint(from.self, to?.self ?? { address, incarnation: '' }, kind);
    if (from.dead) return stream;
    if (!to?.accept || this.#partitions.has(pair(from.self, to.self))) {
      this.#defer(() => stream.break('connection refused'));
      return stream;
    }
    const peer = this.#endpoint(to.self, from.self, kind);
    stream.peer = peer;
    peer.peer = stream;
    to.accept(peer, kind);
    return stream;
  }

  /** @internal The host that accepts streams at an address. */
  listener(address: string): Host | undefined {
    return [...this.#hosts].find((host) => host.accept && host.self.address === address);
  }

  #endpoint(from: MemberId, to: MemberId, kind: StreamKind): MemoryStream {
    const rules = {
      clock: this.#clock,
      defer: this.#defer,
      delayMs: () => this.#delayOf(from, to),
      stalled: () => this.#stalls.has(pair(from, to)),
    };
    const passes = (message: Uint8Array): boolean =>
      kind === 'stream' ||
      !Envelope.decode(message).frames.some(({ body }) => body && this.#dropped({ from, to, body }));
    const stream = new MemoryStream(from, to, rules, passes, (done) => this.#streams.delete(done));
    this.#streams.add(stream);
    return stream;
  }
}

/** One process on the network. */
class Host implements Network {
  accept: ((stream: MessageStream, kind: StreamKind) => void) | undefined;
  dead = false;

  constructor(
    readonly self: MemberId,
    private readonly network: MemoryNetwork,
  ) {}

  async listen(accept: (stream: MessageStream, kind: StreamKind) => void): Promise<number> {
    const { address } = this.self;
    if (this.network.listener(address)) throw new HedgeError('INVALID_OPTIONS', `Address ${address} is in use`);
    this.accept = accept;
    return Number(address.slice(address.lastIndexOf(':') + 1));
  }

  connect(address: string, kind: StreamKind): MessageStream {
    return this.network.connect(this, address, kind);
  }

  async close(): Promise<void> {
    this.accept = undefined;
  }
}

function pair(a: MemberId, b: MemberId): string {
  return [a.incarnation, b.incarnation].sort().join(' ');
}
