import type { MembershipRunner } from '../../membership/membership.runner.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { StartGate } from '../../common/async/start-gate.js';
import type { Timing } from '../../common/timing.js';
import type { Messenger } from '../../messaging/messenger.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { RequestKind } from '../../wire/hedge/v1/link.js';
import { SpillOpening } from '../../wire/hedge/v1/spill.js';
import type { FrameBuffers, NodeStorage, TierBytes } from '../node/storage.js';
import type { Space } from '../placement/placement.messages.js';
import { MAX_FRAME_BYTES } from '../records/frame.js';
import { Holder } from '../replication/holder.js';
import { breach, decoded } from '../replication/messages.js';
import { Renewals } from '../replication/renewals.js';
import { PeerConnections } from '../replication/routes.js';
import { FrameTokens } from './frame-tokens.js';
import type { SpillContext } from './spilled-data.js';
import { SpillStore } from './spill.store.js';

/** Free space is told in steps of a budget's 32nd, so that views are not sent again for every frame. */
const STEPS_OF_SPACE = 32;
/** Heartbeat timeouts of silence after which an owner counts as dead. By then it has long left the view. */
const EXPIRY_TIMEOUTS = 3;

export interface SpillRuntimeOptions {
  readonly gate: StartGate;
  readonly streams: StreamTransport;
  readonly messenger: Pick<Messenger, 'request' | 'serve'>;
  readonly views: Pick<MembershipRunner, 'view' | 'spaces' | 'advertise' | 'onChange'>;
  readonly clock: Clock;
  readonly timing: Pick<Timing, 'heartbeatMs' | 'heartbeatTimeoutMs'>;
  /** Opens what this pod lends. */
  readonly openNode: () => Promise<NodeStorage>;
  readonly logger: { warn(message: string): void };
  /** For jitter. */
  readonly random?: () => number;
}

interface Running {
  readonly context: SpillContext;
  readonly holder: Holder;
}

/** This pod's part in the spill stores of the group: its own stores, and what it holds of others'. */
export class SpillRuntime {
  readonly store: SpillStore;
  readonly #options: SpillRuntimeOptions;
  #running: Running | undefined;
  #stopFollowing: () => void = () => undefined;
  #cancelBeat: () => void = () => undefined;

  constructor(options: SpillRuntimeOptions) {
    this.#options = options;
    this.store = new SpillStore({ gate: options.gate, context: () => this.#running?.context, clock: options.clock });
    const { messenger, streams } = options;
    messenger.serve(RequestKind.REQUEST_KIND_SPILL_RENEWAL, (request) => this.#holder().renew(request));
    messenger.serve(RequestKind.REQUEST_KIND_SPILL_PULL, (request) => this.#holder().pull(request));
    streams.serveStreams('spill', (stream, opening) => this.#serve(stream, opening));
  }

  /** Opens this pod's RAM and disk, before others can ask for them. @throws HedgeError INVALID_OPTIONS */
  async open(): Promise<void> {
    const { streams, messenger, views, clock, timing, logger, random = Math.random } = this.#options;
    const node = await this.#options.openNode();
    const lent = node.free();
    const { heartbeatMs, heartbeatTimeoutMs } = timing;
    const expireMs = EXPIRY_TIMEOUTS * heartbeatTimeoutMs;
    const holder = new Holder({ node, streams, clock, expireMs, logger });
    const renewals = new Renewals({ messenger, clock, everyMs: heartbeatMs });
    const context: SpillContext = {
      self: streams.self,
      node,
      routes: new PeerConnections({ streams, messenger, clock, timeoutMs: heartbeatTimeoutMs }),
      renewals,
      tokens: new FrameTokens(Math.floor(ownShare(node.buffers) / node.buffers.frameBytes)),
      spaces: () => this.#spaces(lent),
      clock,
      stallMs: heartbeatTimeoutMs,
      giveUpMs: 2 * heartbeatTimeoutMs,
      random,
    };
    this.#running = { context, holder };
    holder.start();
    this.#stopFollowing = views.onChange(() => this.store.membersChanged());
    this.#lend(node, lent);
  }

  /** Drops this pod's stores, and frees what it holds of others'. Idempotent. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    // From here on nobody makes a store here, or has one held.
    this.#running = undefined;
    this.#stopFollowing();
    this.#cancelBeat();
    await this.store.dropAll();
    running.context.renewals.stop();
    running.holder.stop();
    await running.context.node.close();
  }

  async #serve(stream: PeerStream, opening: Uint8Array): Promise<void> {
    const { wish } = decoded(SpillOpening, opening, stream.peer.address);
    const holder = this.#holder();
    switch (wish?.$case) {
      case 'take':
        return this.#running?.context.routes.taken(stream, wish.value);
      case 'read':
        return holder.read(stream, wish.value);
      case 'give':
        return holder.given(stream, wish.value);
      case undefined:
        throw breach(stream.peer.address, 'did not say what it is for');
    }
  }

  #holder(): Holder {
    if (this.#running !== undefined) return this.#running.holder;
    throw new HedgeError('SHUTTING_DOWN', 'This pod lends nothing to spill stores: it is starting or stopping.');
  }

  /** Tells the group, with heartbeats, what this pod would take. */
  #lend(node: NodeStorage, lent: TierBytes): void {
    const { clock, timing, views } = this.#options;
    const { memory, disk } = node.free();
    views.advertise({ memory: coarse(memory, lent.memory), disk: coarse(disk, lent.disk) });
    this.#cancelBeat = clock.after(timing.heartbeatMs, () => {
      this.store.membersChanged();
      this.#lend(node, lent);
    });
  }

  /** A pod that has just joined has not told yet, and counts as one like this: what it has not got it refuses. */
  #spaces(lent: TierBytes): Space[] {
    const { streams, views } = this.#options;
    const members = views.view?.members ?? [];
    return members
      .filter(({ incarnation }) => incarnation !== streams.self.incarnation)
      .map(({ address, incarnation }) => {
        const { memory, disk } = views.spaces.get(incarnation) ?? lent;
        return { member: { address, incarnation }, freeBytes: memory + disk };
      });
  }
}

/** What frames of this pod's own stores may take of the buffers: the largest frame of another pod fits beside them. */
function ownShare({ capacity }: FrameBuffers): number {
  return Math.min((capacity * 3) / 4, capacity - MAX_FRAME_BYTES);
}

function coarse(bytes: number, budget: number): number {
  const step = Math.max(1, Math.floor(budget / STEPS_OF_SPACE));
  return Math.floor(bytes / step) * step;
}
