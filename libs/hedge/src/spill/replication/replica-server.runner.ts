import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { NO_PAYLOAD, type Encoded, type IncomingRequest } from '../../messaging/message.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { SpillPull, type SpillRead, SpillRenewal } from '../../wire/hedge/v1/spill.js';
import type { NodeStorage, SpillPart } from '../node/storage.js';
import { storeIdOf } from '../records/frame.js';
import { FrameReadServer } from './frame-read-server.js';
import { FrameReceiver } from './frame-receiver.js';
import { decoded, encodeOpening } from './messages.js';
import { type Discard, ReplicaTable } from './replica-table.core.js';

/** Checks for silent owners this often within `expireMs`. */
const TICKS_PER_EXPIRY = 4;

export interface ReplicaServerOptions {
  readonly node: NodeStorage;
  readonly streams: StreamTransport;
  readonly clock: Clock;
  /** An owner that sends no renewal for this time counts as dead, and its replicas are freed. */
  readonly expireMs: number;
  readonly logger: { warn(message: string): void };
}

/**
 * The holder's side of replication: keeps frames of other pods' stores on this pod. The runner of `ReplicaTable`;
 * `ReplicaClient` is the other side.
 */
export class ReplicaServer {
  readonly #options: ReplicaServerOptions;
  readonly #table: ReplicaTable;
  /** By owner and epoch. */
  readonly #parts = new Map<string, SpillPart>();
  #cancelTick: () => void = () => undefined;

  constructor(options: ReplicaServerOptions) {
    this.#options = options;
    this.#table = new ReplicaTable(options.expireMs);
  }

  start(): void {
    const { clock, expireMs } = this.#options;
    this.#cancelTick = clock.after(expireMs / TICKS_PER_EXPIRY, () => {
      this.#discard(this.#table.tick(clock.now()));
      this.start();
    });
  }

  stop(): void {
    this.#cancelTick();
  }

  /** Serves REQUEST_KIND_SPILL_RENEWAL. */
  async renew({ caller, payload }: IncomingRequest): Promise<Encoded> {
    const renewal = decoded(SpillRenewal, payload.bytes, caller.address);
    this.#discard(this.#table.renewed(caller.incarnation, renewal, this.#options.clock.now()));
    return NO_PAYLOAD;
  }

  /** Serves REQUEST_KIND_SPILL_PULL: opens a stream to the owner, and receives frames from it. */
  async openWriteStream({ caller, payload, signal }: IncomingRequest): Promise<Encoded> {
    const pull = decoded(SpillPull, payload.bytes, caller.address);
    const part = this.#admit(caller, pull);
    const { epoch, session } = pull;
    const opening = encodeOpening({ $case: 'take', value: { epoch, session } });
    const stream = await this.#options.streams.openStream(caller, { purpose: 'spill', opening }, { signal });
    // The stream reports its own failure to both ends.
    void this.#receiveFrames(stream, part, pull).catch(() => undefined);
    return NO_PAYLOAD;
  }

  /** Receives frames by a stream that the owner, a client, has opened itself. */
  acceptWriteStream(stream: PeerStream, pull: SpillPull): Promise<void> {
    return this.#receiveFrames(stream, this.#admit(stream.peer, pull), pull);
  }

  /** Sends the owner its own frames. @throws HedgeError SPILL_LOST when this pod holds none of the store */
  async serveReadStream(stream: PeerStream, { epoch, name }: SpillRead): Promise<void> {
    const part = this.#parts.get(keyOf(stream.peer.incarnation, epoch));
    if (part === undefined) {
      throw new HedgeError(
        'SPILL_LOST',
        `${this.#options.streams.self.address} holds nothing of spilled data '${name}': no renewal of its owner arrived in time, or the owner has dropped it. Write the data again.`,
      );
    }
    await new FrameReadServer(stream, part).run();
  }

  #admit(owner: MemberId, { epoch, session, name, memoryLimit, diskLimit }: SpillPull): SpillPart {
    const { node, clock } = this.#options;
    if (!this.#table.admit({ owner: owner.incarnation, epoch }, session, clock.now())) {
      throw new HedgeError(
        'SPILL_UNKNOWN',
        `${this.#options.streams.self.address} refuses frames of spilled data '${name}': its owner has dropped it. Create it again.`,
      );
    }
    const key = keyOf(owner.incarnation, epoch);
    let part = this.#parts.get(key);
    if (part === undefined) {
      const id = { store: storeIdOf(owner.incarnation), epoch, name };
      part = node.part(id, { memory: memoryLimit, disk: diskLimit });
      this.#parts.set(key, part);
    }
    return part;
  }

  #receiveFrames(stream: PeerStream, part: SpillPart, { epoch, session }: SpillPull): Promise<void> {
    const { buffers } = this.#options.node;
    const owner = stream.peer.incarnation;
    return new FrameReceiver({ stream, owner, epoch, session, part, table: this.#table, buffers }).run();
  }

  #discard(discards: readonly Discard[]): void {
    for (const { replica, sequences } of discards) {
      const key = keyOf(replica.owner, replica.epoch);
      const part = this.#parts.get(key);
      if (part === undefined) continue;
      if (sequences !== undefined) {
        for (const sequence of sequences) part.remove(sequence);
        continue;
      }
      this.#parts.delete(key);
      this.#options.node.drop(part.id).catch((error: unknown) => {
        this.#options.logger.warn(`Could not free a replica of spilled data '${part.id.name}': ${String(error)}`);
      });
    }
  }
}

function keyOf(owner: string, epoch: number): string {
  return `${owner} ${epoch}`;
}
