import type { MemberId } from '../../common/identity.js';
import type { MembershipRunner } from '../../membership/membership.runner.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { StartGate } from '../../common/async/start-gate.js';
import type { Timing } from '../../common/timing.js';
import type { Messenger } from '../../messaging/messenger.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { SpillOpening } from '../../wire/hedge/v1/spill.js';
import type { FrameBuffers, NodeStorage, SpillPart, TierBytes } from '../node/storage.js';
import type { MemberCapacity } from '../placement/placement.messages.js';
import { MAX_FRAME_BYTES, storeIdOf } from '../records/frame.js';
import { decoded, protocolError } from '../replication/messages.js';
import { ReplicaClient, SPILL_PULL, SPILL_RENEWAL } from '../replication/replica-client.js';
import { ReplicaServer } from '../replication/replica-server.runner.js';
import { FrameTokens } from './frame-tokens.js';
import type { SpillContext } from './spilled-data.js';
import { SpillStore } from './spill.store.js';

/** Capacity is advertised in steps of 1/32 of a budget, so that a view is not sent again for every frame. */
const CAPACITY_STEPS = 32;
/** Heartbeat timeouts without a renewal after which an owner counts as dead. By then it is no longer in the view. */
const EXPIRY_TIMEOUTS = 3;

export interface SpillRuntimeOptions {
  readonly gate: StartGate;
  readonly streams: StreamTransport;
  readonly messenger: Pick<Messenger, 'request' | 'serve'>;
  readonly membership: Pick<MembershipRunner, 'view' | 'spaces' | 'advertise' | 'onChange'>;
  readonly clock: Clock;
  readonly timing: Pick<Timing, 'heartbeatMs' | 'heartbeatTimeoutMs'>;
  /** Opens the RAM and disk that this pod offers. */
  readonly openNode: () => Promise<NodeStorage>;
  readonly logger: { warn(message: string): void };
  /** For jitter. */
  readonly random?: () => number;
}

interface Running {
  readonly context: SpillContext;
  readonly replicaServer: ReplicaServer;
}

/** The spill stores of one pod: its own stores, and its replicas of other pods' stores. */
export class SpillRuntime {
  readonly store: SpillStore;
  readonly #options: SpillRuntimeOptions;
  #running: Running | undefined;
  #stopFollowing: () => void = () => undefined;
  #cancelHeartbeat: () => void = () => undefined;

  constructor(options: SpillRuntimeOptions) {
    this.#options = options;
    this.store = new SpillStore({ gate: options.gate, context: () => this.#running?.context, clock: options.clock });
    const { messenger, streams } = options;
    messenger.serve(SPILL_RENEWAL, (request) => this.#replicaServer().renew(request));
    messenger.serve(SPILL_PULL, (request) => this.#replicaServer().openWriteStream(request));
    streams.serveStreams('spill', (stream, opening) => this.#serve(stream, opening));
  }

  /** The bytes that this pod holds, and can still hold, by tier; undefined before the start and after the end. */
  get usage(): { readonly used: TierBytes; readonly free: TierBytes } | undefined {
    const node = this.#running?.context.node;
    return node && { used: node.used(), free: node.free() };
  }

  /** Opens this pod's RAM and disk, before other pods can request them. @throws HedgeError INVALID_OPTIONS */
  async open(): Promise<void> {
    const { streams, messenger, membership, clock, timing, logger, random = Math.random } = this.#options;
    const node = await this.#options.openNode();
    const offered = node.free();
    const { heartbeatMs, heartbeatTimeoutMs } = timing;
    const expireMs = EXPIRY_TIMEOUTS * heartbeatTimeoutMs;
    const replicaServer = new ReplicaServer({ node, streams, clock, expireMs, logger });
    const context: SpillContext = {
      self: streams.self,
      node,
      replicas: new ReplicaClient({
        streams,
        messenger,
        clock,
        openTimeoutMs: heartbeatTimeoutMs,
        renewEveryMs: heartbeatMs,
      }),
      tokens: new FrameTokens(Math.floor(ownShare(node.buffers) / node.buffers.frameBytes)),
      capacities: () => this.#capacities(offered),
      clock,
      stallMs: heartbeatTimeoutMs,
      giveUpMs: 2 * heartbeatTimeoutMs,
      random,
    };
    this.#running = { context, replicaServer };
    replicaServer.start();
    this.#stopFollowing = membership.onChange(() => this.store.membersChanged());
    this.#advertiseCapacity(node, offered);
  }

  /** The bytes of this pod by tier; undefined before `open` and after `close`. */
  get space(): { readonly used: TierBytes; readonly free: TierBytes } | undefined {
    const node = this.#running?.context.node;
    return node && { used: node.used(), free: node.free() };
  }

  /** The parts that this pod holds, with their owners. An owner that has left the view is undefined. */
  *held(): Generator<{ readonly owner: MemberId | undefined; readonly part: SpillPart }> {
    const node = this.#running?.context.node;
    const parts = node === undefined ? [] : [...node.parts()];
    if (parts.length === 0) return;
    const { streams, membership } = this.#options;
    const members = [...(membership.view?.members ?? []), streams.self];
    const owners = new Map(members.map((member) => [storeIdOf(member.incarnation), member]));
    for (const part of parts) yield { owner: owners.get(part.id.store), part };
  }

  /** Drops this pod's stores, and frees its replicas. Idempotent. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    // From here on this pod refuses new stores and replicas.
    this.#running = undefined;
    this.#stopFollowing();
    this.#cancelHeartbeat();
    await this.store.dropAll();
    running.context.replicas.stop();
    running.replicaServer.stop();
    await running.context.node.close();
  }

  async #serve(stream: PeerStream, opening: Uint8Array): Promise<void> {
    const { wish } = decoded(SpillOpening, opening, stream.peer.address);
    const replicaServer = this.#replicaServer();
    switch (wish?.$case) {
      case 'take':
        return this.#running?.context.replicas.acceptWriteStream(stream, wish.value);
      case 'read':
        return replicaServer.serveReadStream(stream, wish.value);
      case 'give':
        return replicaServer.acceptWriteStream(stream, wish.value);
      case undefined:
        throw protocolError(stream.peer.address, 'did not say which kind of stream it opens');
    }
  }

  #replicaServer(): ReplicaServer {
    if (this.#running !== undefined) return this.#running.replicaServer;
    throw new HedgeError(
      'SHUTTING_DOWN',
      `The pod ${this.#options.streams.self.address} holds no spilled data: it is starting or stopping. Try another pod, or this one later.`,
    );
  }

  /** Advertises the free capacity of this pod to the group, with heartbeats. */
  #advertiseCapacity(node: NodeStorage, offered: TierBytes): void {
    const { clock, timing, membership } = this.#options;
    const { memory, disk } = node.free();
    membership.advertise({ memory: coarse(memory, offered.memory), disk: coarse(disk, offered.disk) });
    this.#cancelHeartbeat = clock.after(timing.heartbeatMs, () => {
      this.store.membersChanged();
      this.#advertiseCapacity(node, offered);
    });
  }

  /**
   * A pod that has just joined has advertised nothing yet. It counts as one that offers as much as this pod does; it
   * refuses frames for which it has no room.
   */
  #capacities(offered: TierBytes): MemberCapacity[] {
    const { streams, membership } = this.#options;
    const members = membership.view?.members ?? [];
    return members
      .filter(({ incarnation }) => incarnation !== streams.self.incarnation)
      .map(({ address, incarnation }) => {
        const { memory, disk } = membership.spaces.get(incarnation) ?? offered;
        return { member: { address, incarnation }, freeBytes: memory + disk };
      });
  }
}

/** The share of the buffers for this pod's own stores: the largest frame of another pod fits into the rest. */
function ownShare({ capacity }: FrameBuffers): number {
  return Math.min((capacity * 3) / 4, capacity - MAX_FRAME_BYTES);
}

/** Rounds down to a step of the budget. */
function coarse(bytes: number, budget: number): number {
  const step = Math.max(1, Math.floor(budget / CAPACITY_STEPS));
  return Math.floor(bytes / step) * step;
}
