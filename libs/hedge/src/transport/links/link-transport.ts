import { type Logger, SILENT } from '../../common/line-logger.js';
import { sharedAbortController } from '../../common/async/on-abort.js';
import { type Clock, systemClock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { Timing } from '../../common/timing.js';
import type { MemberId } from '../../common/identity.js';
import { Acceptor, type AuthenticatedCaller } from '../handshake/acceptor.js';
import { Admissions } from '../handshake/admissions.js';
import { dial } from './dial.js';
import { encodeFrame } from './frames.js';
import { GroupIdentity, type GroupSecrets } from '../handshake/group-identity.js';
import { CallerHandshake, ReceiverHandshake } from '../handshake/handshake.core.js';
import { StreamLink } from './link.js';
import { TimingComparison } from '../timing-comparison.js';
import type { MessageStream, Network } from '../streams/message-stream.js';
import { Outbox } from './outbox.js';
import type {
  PeerStream,
  StreamOpening,
  StreamPurpose,
  StreamServer,
  StreamTransport,
} from '../streams/peer-stream.js';
import { PeerStreams } from '../streams/peer-streams.js';
import { RefusalLog } from '../handshake/refusal-log.js';
import type { Link, LinkSessions, Transport, TransportEvents } from '../transport.js';
import type { Metrics } from '../../telemetry/metrics.js';

export interface LinkTransportOptions {
  readonly group: string;
  /** The address that others dial (port 0 becomes the bound port; empty for a client), and the incarnation. */
  readonly self: MemberId;
  /** Reads the secret of the group. Called for each handshake. */
  readonly secret: (self: MemberId) => Promise<GroupSecrets>;
  /** The durations of this pod. The log reports a peer with other durations. */
  readonly timing?: Timing;
  /** Time limit of a handshake, including the connection setup, in milliseconds. Default 5000. */
  readonly handshakeTimeoutMs?: number;
  /** Largest payload of a frame in bytes. Default 4 MiB. A larger one fails with PAYLOAD_TOO_LARGE. */
  readonly maxMessageBytes?: number;
  /** Bytes that may wait for one slow peer. Default 16 MiB. Above it, sending fails with OVERLOADED. */
  readonly maxQueuedBytes?: number;
  readonly clock?: Clock;
  /** Default: no log. */
  readonly logger?: Logger;
  readonly metrics?: Metrics | undefined;
}

export const DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
export const DEFAULT_MAX_QUEUED_BYTES = 16 * 1024 * 1024;
const DEFAULT_HANDSHAKE_TIMEOUT_MS = 5_000;
/** A link without frames is closed after this time, and at most twice this time. A dial costs as much as some minutes of pings. */
const UNUSED_LINK_MS = 30_000;

/**
 * Links between members over any network: handshake, fencing of old links, reuse of open links. Also serves the streams
 * between members, which share only the port and the identity with the links.
 */
export class LinkTransport implements Transport, StreamTransport {
  readonly #identity: GroupIdentity;
  readonly #streams: PeerStreams;
  #events!: TransportEvents;
  #sessions!: LinkSessions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #handshakeTimeoutMs: number;
  readonly #refusals: RefusalLog;
  readonly #timings: TimingComparison;
  readonly #acceptor: Acceptor;
  readonly #admissions: Admissions;
  readonly #all = new Set<StreamLink>();
  readonly #accepted = new Map<string, StreamLink>();
  readonly #dialledAt = new Map<string, StreamLink>();
  readonly #dialling = new Map<string, { incarnation: string | undefined; attempt: Promise<StreamLink> }>();
  readonly #stop = sharedAbortController();
  #generation = 0;
  #cancelSweep: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly options: LinkTransportOptions,
    private readonly network: Network,
    /** Runs a function at the end of this turn of the event loop. */
    private readonly defer: (run: () => void) => void = setImmediate,
  ) {
    this.#identity = new GroupIdentity(options.group, options.self, options.secret, options.timing);
    this.#clock = options.clock ?? systemClock;
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_TIMEOUT_MS;
    this.#logger = options.logger ?? SILENT;
    this.#refusals = new RefusalLog(this.#logger, this.#clock, () => options.metrics?.add('hedge.peer_refusals'));
    this.#timings = new TimingComparison(options.timing, (line) => this.#logger.warn(line));
    this.#admissions = new Admissions(2 * this.#handshakeTimeoutMs);
    this.#acceptor = new Acceptor({
      kind: 'link',
      handshake: async () => new ReceiverHandshake(await this.#identity.handshakeInput('link')),
      admit: (stream, caller) => this.#admit(stream, caller),
      timeoutMs: this.#handshakeTimeoutMs,
      clock: this.#clock,
      log: this.#refusals,
    });
    this.#streams = new PeerStreams({
      identity: this.#identity,
      network,
      clock: this.#clock,
      defer,
      handshakeTimeoutMs: this.#handshakeTimeoutMs,
      maxMessageBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
      refusals: this.#refusals,
      stop: this.#stop.signal,
    });
  }

  get self(): MemberId {
    return this.#identity.self;
  }

  attach(events: TransportEvents, sessions: LinkSessions): void {
    this.#events = events;
    this.#sessions = sessions;
  }

  async listen(): Promise<void> {
    const port = await this.network.listen((stream, kind) =>
      kind === 'link' ? this.#acceptor.accept(stream) : this.#streams.accept(stream),
    );
    this.#identity.bound(port);
  }

  openStream(target: MemberId, opening: StreamOpening, options?: { signal?: AbortSignal }): Promise<PeerStream> {
    return this.#streams.openStream(target, opening, options);
  }

  serveStreams(purpose: StreamPurpose, server: StreamServer): void {
    this.#streams.serveStreams(purpose, server);
  }

  /**
   * Makes one attempt for an address at a time, and none while a link to the same receiver is open. So the outstanding
   * sequences in a Proof are still correct when the receiver uses them.
   */
  async dial(target: { address: string; incarnation?: string }): Promise<Link> {
    const { address, incarnation } = target;
    for (;;) {
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      const open = this.#dialledAt.get(address);
      if (open && (incarnation === undefined || open.peer.incarnation === incarnation)) return open;
      const other = this.#dialling.get(address);
      if (!other) break;
      if (other.incarnation === incarnation) return other.attempt;
      await other.attempt.catch(() => undefined);
    }
    const attempt = this.#connect(target).finally(() => this.#dialling.delete(address));
    this.#dialling.set(address, { incarnation, attempt });
    return attempt;
  }

  dialled(member: MemberId): Link | undefined {
    const link = this.#dialledAt.get(member.address);
    return link?.peer.incarnation === member.incarnation ? link : undefined;
  }

  linked(member: MemberId): Link | undefined {
    return this.dialled(member) ?? this.#accepted.get(member.incarnation);
  }

  links(): Iterable<Link> {
    return this.#all;
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    const reason = new HedgeError('SHUTTING_DOWN', 'This pod is stopping and has closed its links');
    this.#stop.abort(reason);
    this.#acceptor.close();
    this.#cancelSweep?.();
    for (const link of this.#all) link.end(reason);
    await this.network.close();
  }

  async #connect(target: { address: string; incarnation?: string }): Promise<StreamLink> {
    this.#generation += 1;
    const generation = this.#generation;
    const stream = this.network.connect(target.address, 'link');
    const input = this.#identity.handshakeInput('link');
    try {
      return await dial(
        {
          address: target.address,
          kind: 'link',
          stream,
          handshake: input.then((known) => new CallerHandshake({ ...known, generation, target })),
          timeoutMs: this.#handshakeTimeoutMs,
          clock: this.#clock,
          signal: this.#stop.signal,
          outstanding: (receiver) => this.#sessions.outstandingAt(receiver),
        },
        ({ receiver, resumed, timing }) => {
          this.#timings.compare(receiver.address, timing);
          // Another process answers at this address, so the earlier one has ended.
          this.#dialledAt.get(target.address)?.close();
          const link = this.#link(stream, { peer: receiver, direction: 'dialled', resumed }, (gone) => {
            if (this.#dialledAt.get(target.address) === gone) this.#dialledAt.delete(target.address);
          });
          this.#dialledAt.set(target.address, link);
          this.#sweepLater();
          link.start();
          return link;
        },
      );
    } catch (error) {
      if (error instanceof HedgeError && (error.code === 'UNAUTHENTICATED' || 'refusal' in error.details)) {
        this.#refusals.warn(target.address, error.message);
      }
      throw error;
    }
  }

  /** One timer for all links. Heartbeats use the link to the leader, so it stays open. */
  #sweepLater(): void {
    const { heartbeatTimeoutMs = 0 } = this.options.timing ?? {};
    this.#cancelSweep ??= this.#clock.after(Math.max(UNUSED_LINK_MS, 2 * heartbeatTimeoutMs), () => this.#sweep());
  }

  /** Closes the links that this pod has dialled and does not use, such as those of a broadcast. */
  #sweep(): void {
    this.#cancelSweep = undefined;
    for (const link of this.#dialledAt.values()) {
      if (!link.takeUse() && this.#sessions.outstandingAt(link.peer).length === 0) link.close();
    }
    if (this.#dialledAt.size > 0) this.#sweepLater();
  }

  #admit(stream: MessageStream, { member, generation, outstanding, timing }: AuthenticatedCaller): void {
    if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
    if (!this.#admissions.admit(member.incarnation, generation, this.#clock.now().mono)) {
      throw new HedgeError('MEMBER_UNREACHABLE', 'This link was refused: the caller has opened a newer link');
    }
    this.#timings.compare(member.address || stream.remote, timing);
    const { self } = this.#identity;
    if (member.address !== '' && member.address === self.address && member.incarnation !== self.incarnation) {
      this.#refusals.warn(
        `own address ${member.address}`,
        `Another live pod, process ${member.incarnation} calling from ${stream.remote}, has this pod's own address ${member.address}. Set the variable POD_IP from status.podIP, or \`address\`, to an address that other pods can dial`,
      );
    }
    // No await from here to Welcome, so that no frame of the older link arrives in between.
    this.#accepted
      .get(member.incarnation)
      ?.end(new HedgeError('MEMBER_UNREACHABLE', `The member ${member.address} has opened a newer link`));
    const resumed = this.#sessions.resume(member, outstanding);
    const link = this.#link(stream, { peer: member, direction: 'accepted', resumed }, (gone) => {
      this.#admissions.closed(member.incarnation, generation, this.#clock.now().mono);
      if (this.#accepted.get(member.incarnation) === gone) this.#accepted.delete(member.incarnation);
    });
    this.#accepted.set(member.incarnation, link);
    stream.write(encodeFrame({ $case: 'welcome', value: { resumed, timing: this.options.timing } }), () => undefined);
    link.start();
  }

  #link(
    stream: MessageStream,
    about: Pick<StreamLink, 'peer' | 'direction' | 'resumed'>,
    forget: (link: StreamLink) => void,
  ): StreamLink {
    const limits = {
      maxMessageBytes: this.options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
      maxQueuedBytes: this.options.maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES,
    };
    const link = new StreamLink({
      ...about,
      stream,
      outbox: new Outbox(about.peer.address || stream.remote, stream, limits, this.#clock, this.defer),
      events: this.#events,
      log: this.#refusals,
      forget: (gone) => {
        this.#all.delete(gone);
        forget(gone);
      },
    });
    this.#all.add(link);
    return link;
  }
}
