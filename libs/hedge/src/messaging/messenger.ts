import type { Clock } from '../common/clock.js';
import type { HedgeError } from '../common/errors.js';
import type { Logger } from '../common/line-logger.js';
import type { MemberId } from '../common/identity.js';
import type { FrameBody, Link, LinkSessions, Transport, TransportEvents } from '../transport/transport.js';
import { Encoding, type Reply, type Request } from '../wire/hedge/v1/link.js';
import { RequestClient } from './client/request-client.runner.js';
import type { LeaderRoute } from './leader-route.js';
import { DEFAULT_MESSAGING_LIMITS, type MessagingLimits } from './limits.js';
import type { Encoded, OutgoingRequest, RequestHandler } from './message.js';
import type { RequestType } from './request-type.js';
import type { HandlerFigures } from './server/handler-figures.js';
import { RequestServer } from './server/request-server.runner.js';
import { Timeline } from './server/timeline.js';
import type { Origin } from './server/server-call.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

const TICK_MS = 10;

export interface MessengerOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly route: LeaderRoute;
  readonly limits?: Partial<MessagingLimits>;
  /** For the jitter of retries. */
  readonly random?: () => number;
  readonly logger?: Pick<Logger, 'warn'>;
  readonly metrics?: Metrics | undefined;
  readonly figures?: HandlerFigures;
}

/**
 * Sends requests to the leader and to members, and runs the handlers of the requests that this pod receives.
 *
 * A request to the leader runs exactly once in a term, and may run again under the next leader. A request to a member
 * runs at most once. A request to this process itself does not use the network; the same rules, limits and encoding
 * apply to it.
 *
 * The transport has one listener, which forwards frames and events to the messenger: see `frame`.
 *
 * @example
 * const messenger = new Messenger({ transport, clock: systemClock, route: elector });
 * messenger.serve(BROADCAST, async ({ payload }) => payload);
 * transport.attach(messenger, messenger);
 * elector.onDrain(({ fencingToken }) => messenger.drain(fencingToken));
 * await messenger.request({ to: 'leader', type: LEADER_MESSAGE, topic: 'price', payload, timeoutMs: 10_000 });
 */
export class Messenger implements TransportEvents, LinkSessions {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #timeline = new Timeline();
  readonly #client: RequestClient;
  readonly #server: RequestServer;
  /** The newest link from each caller, by incarnation. */
  readonly #callers = new Map<string, Link>();
  readonly #stopListening: () => void;
  #ticking = false;
  #closed = false;

  constructor({
    transport,
    clock,
    route,
    limits,
    random = Math.random,
    logger,
    metrics = NO_METRICS,
    figures,
  }: MessengerOptions) {
    this.#transport = transport;
    this.#clock = clock;
    const shared = {
      clock,
      timeline: this.#timeline,
      route,
      limits: { ...DEFAULT_MESSAGING_LIMITS, ...limits },
      metrics,
    };
    this.#server = new RequestServer({ ...shared, figures, reply: (origin, reply) => this.#reply(origin, reply) });
    this.#client = new RequestClient({
      ...shared,
      transport,
      random,
      logger,
      runHere: (request) => this.#receive({ peer: transport.self, here: true }, withOwnBytes(request)),
      cancelHere: (sequence) => this.#server.cancel(transport.self, sequence),
    });
    this.#client.leaderChanged();
    this.#stopListening = route.onChange(() => {
      this.#server.leaderChanged();
      this.#client.leaderChanged();
    });
  }

  /** Sets the handler for a type of request. */
  serve(type: RequestType, handler: RequestHandler): void {
    this.#server.serve(type, handler);
  }

  /**
   * Sends a request and waits for its reply.
   * @throws HedgeError the error of the handler, HANDLER_FAILED or NO_HANDLER
   * @throws HedgeError if the request was not started: NO_LEADER, MEMBER_UNREACHABLE, OVERLOADED, PAYLOAD_TOO_LARGE,
   *   INVALID_ARGUMENT, SHUTTING_DOWN
   * @throws HedgeError if the request may have run: DEADLINE_EXCEEDED (with `details.started`), OUTCOME_UNKNOWN. Both
   *   have `details.requestId`, the same as in the handler, and `details.attempts`.
   * @throws the reason of the signal if the signal aborted
   */
  request(request: OutgoingRequest): Promise<Encoded> {
    const reply = this.#client.request(request);
    this.#keepTicking();
    return reply;
  }

  /**
   * Refuses leader work of that term from now on. Callers send it to the next leader. Resolves when no leader work runs,
   * without a time limit.
   */
  drain(epoch: bigint): Promise<void> {
    return this.#server.drain(epoch);
  }

  /** Refuses broadcasts with SHUTTING_DOWN from now on. Resolves when no handler of a broadcast runs, without a time limit. */
  drainBroadcasts(): Promise<void> {
    return this.#server.drainBroadcasts();
  }

  /** Call this when a member has left the view. Requests to this member fail, unless a link to it is open. */
  departed(member: MemberId): void {
    this.#client.departed(member);
  }

  /**
   * Refuses all requests. A waiting request fails with SHUTTING_DOWN, or with OUTCOME_UNKNOWN if it may have run. The
   * signals of running handlers abort. Idempotent.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopListening();
    this.#server.close();
    this.#client.close();
  }

  /** @returns whether the frame belongs to messaging: a request, a reply or a cancellation. */
  frame(link: Link, body: FrameBody): boolean {
    if (body.$case === 'request') {
      this.#receive(link, body.value);
    } else if (body.$case === 'reply') {
      link.acknowledge(body.value.sequence);
      this.#client.replied(link.peer, body.value);
    } else if (body.$case === 'cancel') {
      this.#server.cancel(link.peer, body.value.sequence);
    } else {
      return false;
    }
    return true;
  }

  acknowledged(link: Link, sequences: readonly number[]): void {
    this.#server.acknowledge(link.peer, sequences);
  }

  opened(link: Link): void {
    // A pod dials itself to check its address. It sends nothing over such a link.
    if (this.#isSelf(link.peer)) return;
    if (link.direction === 'dialled') return this.#client.linked(link);
    this.#callers.set(link.peer.incarnation, link);
    this.#server.returned(link.peer);
  }

  closed(link: Link, _reason: HedgeError): void {
    if (this.#isSelf(link.peer)) return;
    if (link.direction === 'dialled') return this.#client.unlinked(link);
    if (this.#callers.get(link.peer.incarnation) !== link) return;
    this.#callers.delete(link.peer.incarnation);
    if (!this.#closed) this.#server.left(link.peer);
  }

  outstandingAt(receiver: MemberId): readonly number[] {
    return this.#isSelf(receiver) ? [] : this.#client.outstandingAt(receiver);
  }

  resume(caller: MemberId, outstanding: readonly number[]): boolean {
    return this.#isSelf(caller) ? false : this.#server.resume(caller, outstanding);
  }

  #receive(origin: Origin, request: Request): void {
    this.#server.receive(origin, request);
    this.#keepTicking();
  }

  /** See `RequestServerOptions.reply`. */
  #reply(origin: Origin | Link, reply: Reply): boolean {
    if (!('send' in origin)) {
      this.#server.acknowledge(origin.peer, [reply.sequence]);
      this.#client.replied(origin.peer, withOwnBytes(reply));
      return true;
    }
    try {
      origin.send({ $case: 'reply', value: reply });
      return true;
    } catch {
      return false;
    }
  }

  /** Uses one timer for all deadlines and pauses, and no timer while nothing waits. */
  #keepTicking(): void {
    if (this.#ticking || !(this.#client.busy || this.#server.busy)) return;
    this.#ticking = true;
    const tick = (): void => {
      this.#ticking = false;
      this.#client.tick();
      this.#server.tick(this.#timeline.advance(this.#clock.now()));
      this.#keepTicking();
    };
    // A script that awaits a reply must run until the deadline, even if nothing else keeps the process alive.
    this.#clock.after(TICK_MS, tick, this.#client.busy);
  }

  #isSelf(member: MemberId): boolean {
    return member.incarnation === this.#transport.self.incarnation;
  }
}

/** Copies the bytes, as the network would do. So neither side can change the payload of the other. */
function withOwnBytes<Message extends { encoding: Encoding; payload: Uint8Array }>(message: Message): Message {
  if (message.encoding !== Encoding.ENCODING_BYTES) return message;
  return { ...message, payload: Uint8Array.prototype.slice.call(message.payload) };
}
