import type { Clock } from '../../common/clock.js';
import { asHedgeError, HedgeError } from '../../common/errors.js';
import { firstAbort } from '../../common/async/first-abort.js';
import type { MemberId } from '../../common/identity.js';
import { Acceptor } from '../handshake/acceptor.js';
import { ByteStream } from './byte-stream.js';
import { dial } from '../links/dial.js';
import { DialLimiter } from './dial-limiter.js';
import type { GroupIdentity } from '../handshake/group-identity.js';
import { encodeFrame } from '../links/frames.js';
import { CallerHandshake, ReceiverHandshake } from '../handshake/handshake.core.js';
import { MemoryStream } from './memory-stream.js';
import type { MessageStream, Network } from './message-stream.js';
import type { PeerStream, StreamOpening, StreamPurpose, StreamServer, StreamTransport } from './peer-stream.js';
import type { RefusalLog } from '../handshake/refusal-log.js';
import { StreamOpening as OpeningMessage } from '../../wire/hedge/v1/stream.js';

const MAX_OPENING_BYTES = 64 * 1024;
/**
 * Limit of open accepted streams of each class. It bounds connections and read-ahead buffers. The streams of the library
 * have a separate limit, so that handlers of users that never end cannot block them.
 */
const MAX_OF_CLASS = 1_024;
const MAX_ACCEPTED = 2 * MAX_OF_CLASS;
/** Concurrent handshakes with one member. A few keep both processes busy, and each ends long before its time limit. */
const MAX_DIALS_PER_MEMBER = 16;

type StreamClass = 'handlers' | 'own';

/** The class of a purpose, also of one from another version of the library: handlers of users have only these two. */
function classOf(purpose: string): StreamClass {
  return purpose === 'leader-stream' || purpose === 'broadcast-stream' ? 'handlers' : 'own';
}

export interface PeerStreamsInit {
  readonly identity: GroupIdentity;
  readonly network: Network;
  readonly clock: Clock;
  readonly defer: (run: () => void) => void;
  readonly handshakeTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly refusals: RefusalLog;
  /** Aborts when the transport closes. All streams end with its reason. */
  readonly stop: AbortSignal;
}

interface Opening extends StreamOpening {
  readonly target: MemberId;
  readonly signal: AbortSignal;
}

/** Opens, accepts and ends the streams between members, which are separate from the links. */
export class PeerStreams implements StreamTransport {
  readonly #servers = new Map<string, StreamServer>();
  readonly #streams = new Set<ByteStream>();
  readonly #acceptor: Acceptor;
  readonly #dials = new DialLimiter(MAX_DIALS_PER_MEMBER);
  #accepted = 0;
  readonly #acceptedOf: Record<StreamClass, number> = { handlers: 0, own: 0 };

  constructor(private readonly init: PeerStreamsInit) {
    const { identity, handshakeTimeoutMs, clock, refusals, stop } = init;
    this.#acceptor = new Acceptor({
      kind: 'stream',
      handshake: async () => new ReceiverHandshake(await identity.handshakeInput('stream')),
      admit: (wire, { member }) => this.#admit(wire, member),
      timeoutMs: handshakeTimeoutMs,
      clock,
      log: refusals,
    });
    stop.addEventListener('abort', () => this.#close(stop.reason as HedgeError), { once: true });
  }

  get self(): MemberId {
    return this.init.identity.self;
  }

  serveStreams(purpose: StreamPurpose, server: StreamServer): void {
    this.#servers.set(purpose, server);
  }

  async openStream(
    target: MemberId,
    { purpose, opening }: StreamOpening,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<PeerStream> {
    if (signal === undefined) return this.#open({ target, purpose, opening, signal: this.init.stop });
    const either = firstAbort(this.init.stop, signal);
    try {
      return await this.#open({ target, purpose, opening, signal: either.signal });
    } finally {
      either.release();
    }
  }

  /** Accepts a stream from the network. */
  accept(wire: MessageStream): void {
    this.#acceptor.accept(wire);
  }

  async #open({ target, purpose, opening, signal }: Opening): Promise<PeerStream> {
    signal.throwIfAborted();
    if (opening.byteLength > MAX_OPENING_BYTES) {
      const message = `The stream was not opened: its opening has ${opening.byteLength} bytes; at most ${MAX_OPENING_BYTES} are allowed`;
      throw new HedgeError('PAYLOAD_TOO_LARGE', message);
    }
    const here = target.incarnation === this.self.incarnation;
    const stream = here ? this.#openHere() : await this.#dials.run(target, signal, () => this.#dial(target, signal));
    void stream.write(OpeningMessage.encode({ purpose, opening }).finish()).catch(() => undefined);
    return stream;
  }

  #close(reason: HedgeError): void {
    this.#acceptor.close();
    for (const stream of this.#streams) stream.cancel(reason);
  }

  async #dial(target: MemberId, signal: AbortSignal): Promise<ByteStream> {
    const { network, identity, handshakeTimeoutMs, clock } = this.init;
    const wire = network.connect(target.address, 'stream');
    const handshake = identity
      .handshakeInput('stream')
      // Generations order the links of a caller. Streams have no order.
      .then((input) => new CallerHandshake({ ...input, generation: 1, target }));
    return await dial(
      {
        address: target.address,
        kind: 'stream',
        stream: wire,
        handshake,
        timeoutMs: handshakeTimeoutMs,
        clock,
        signal,
        outstanding: () => [],
      },
      ({ receiver }) => this.#track(receiver, wire),
    );
  }

  #openHere(): ByteStream {
    const { self } = this;
    const { clock, defer } = this.init;
    const rules = { clock, defer, delayMs: () => 0, stalled: () => false };
    const end = (): MemoryStream =>
      new MemoryStream(
        self,
        self,
        rules,
        () => true,
        () => undefined,
      );
    const [caller, receiver] = [end(), end()];
    caller.peer = receiver;
    receiver.peer = caller;
    const stream = this.#track(self, caller);
    void this.#serve(this.#track(self, receiver));
    return stream;
  }

  #admit(wire: MessageStream, member: MemberId): void {
    if (this.init.stop.aborted) throw this.init.stop.reason;
    if (this.#accepted >= MAX_ACCEPTED) throw this.#overloaded(`${MAX_ACCEPTED} streams`);
    this.#accepted += 1;
    let over = false;
    let heldClass: StreamClass | undefined;
    const stream = this.#track(member, wire, () => {
      over = true;
      this.#accepted -= 1;
      if (heldClass !== undefined) this.#acceptedOf[heldClass] -= 1;
    });
    // The first message of the stream names its purpose.
    const classify = (purpose: string): void => {
      if (over) return;
      const wanted = classOf(purpose);
      if (this.#acceptedOf[wanted] >= MAX_OF_CLASS) {
        throw this.#overloaded(`${MAX_OF_CLASS} streams ${wanted === 'own' ? `as '${purpose}'` : 'to handlers'}`);
      }
      this.#acceptedOf[wanted] += 1;
      heldClass = wanted;
    };
    wire.write(encodeFrame({ $case: 'welcome', value: { resumed: false, timing: undefined } }), () => undefined);
    void this.#serve(stream, classify);
  }

  #overloaded(open: string): HedgeError {
    const message = `The member ${this.self.address} accepts no more streams: it has ${open} open. End some, or try later`;
    return new HedgeError('OVERLOADED', message);
  }

  #track(peer: MemberId, wire: MessageStream, over: () => void = () => undefined): ByteStream {
    const stream = new ByteStream({
      peer,
      wire,
      maxMessageBytes: this.init.maxMessageBytes,
      over: (ended) => {
        this.#streams.delete(ended);
        over();
      },
    });
    this.#streams.add(stream);
    return stream;
  }

  /** @param classify called with the purpose; throws when its class is full. */
  async #serve(stream: ByteStream, classify: (purpose: string) => void = () => undefined): Promise<void> {
    try {
      const { purpose, opening } = openingOf(await stream.read());
      classify(purpose);
      const server = this.#servers.get(purpose);
      if (server === undefined) {
        throw new HedgeError(
          'NO_HANDLER',
          `The member ${this.self.address} serves no streams of purpose '${purpose}'. Run the same version of nestjs-hedge on all pods.`,
        );
      }
      await server(stream, opening);
    } catch (error) {
      stream.cancel(asHedgeError(error, 'HANDLER_FAILED'));
    }
  }
}

function openingOf(message: Uint8Array | undefined): OpeningMessage {
  try {
    if (message !== undefined) return OpeningMessage.decode(message);
  } catch {
    // Reported below.
  }
  throw new HedgeError('UNAUTHENTICATED', 'The stream was refused: its first message does not name a purpose');
}
