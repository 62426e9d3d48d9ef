import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { NO_PAYLOAD, type Encoded, type IncomingRequest } from '../../messaging/message.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { SpillPull, type SpillRead, SpillRenewal } from '../../wire/hedge/v1/spill.js';
import type { NodeStorage, SpillPart } from '../node/storage.js';
import { type Discard, ReplicaTable } from './replica-table.core.js';
import { decoded, encodeOpening, storeOf } from './messages.js';
import { serveFrames } from './frame-server.js';
import { FrameReceiver } from './frame-receiver.js';

/** Looks at who has fallen silent so often within the time that they may. */
const TICKS_PER_EXPIRY = 4;

export interface HolderOptions {
  readonly node: NodeStorage;
  readonly streams: StreamTransport;
  readonly clock: Clock;
  /** An owner that renews nothing for so long is dead: what is held for it is freed. */
  readonly expireMs: number;
  readonly logger: { warn(message: string): void };
}

/** Holds parts of other members' stores on this pod: the runner of `ReplicaTable`. */
export class Holder {
  readonly #options: HolderOptions;
  readonly #holdings: ReplicaTable;
  /** By owner and epoch. */
  readonly #parts = new Map<string, SpillPart>();
  #cancelTick: () => void = () => undefined;

  constructor(options: HolderOptions) {
    this.#options = options;
    this.#holdings = new ReplicaTable(options.expireMs);
  }

  start(): void {
    const { clock, expireMs } = this.#options;
    this.#cancelTick = clock.after(expireMs / TICKS_PER_EXPIRY, () => {
      this.#discard(this.#holdings.tick(clock.now()));
      this.start();
    });
  }

  stop(): void {
    this.#cancelTick();
  }

  /** Serves REQUEST_KIND_SPILL_RENEWAL. */
  async renew({ caller, payload }: IncomingRequest): Promise<Encoded> {
    const renewal = decoded(SpillRenewal, payload.bytes, caller.address);
    this.#discard(this.#holdings.renewed(caller.incarnation, renewal, this.#options.clock.now()));
    return NO_PAYLOAD;
  }

  /** Serves REQUEST_KIND_SPILL_PULL: opens the stream, and takes frames by it from then on. */
  async pull({ caller, payload, signal }: IncomingRequest): Promise<Encoded> {
    const pull = decoded(SpillPull, payload.bytes, caller.address);
    const part = this.#admit(caller, pull);
    const { epoch, session } = pull;
    const opening = encodeOpening({ $case: 'take', value: { epoch, session } });
    const stream = await this.#options.streams.openStream(caller, { purpose: 'spill', opening }, { signal });
    // What it fails with the stream has told to both ends.
    void this.#take(stream, part, pull).catch(() => undefined);
    return NO_PAYLOAD;
  }

  /** An owner that nobody can call has opened the stream itself. */
  given(stream: PeerStream, pull: SpillPull): Promise<void> {
    return this.#take(stream, this.#admit(stream.peer, pull), pull);
  }

  /** An owner reads what is its own. */
  async read(stream: PeerStream, { epoch, name }: SpillRead): Promise<void> {
    const part = this.#parts.get(keyOf(stream.peer.incarnation, epoch));
    if (part === undefined) {
      throw new HedgeError(
        'SPILL_LOST',
        `${this.#options.streams.self.address} holds nothing of spilled data '${name}': its owner was not heard for too long, or has dropped it. Write the store again.`,
      );
    }
    await serveFrames(stream, part);
  }

  #admit(owner: MemberId, { epoch, session, name, memoryLimit, diskLimit }: SpillPull): SpillPart {
    const { node, clock } = this.#options;
    if (!this.#holdings.admit({ owner: owner.incarnation, epoch }, session, clock.now())) {
      throw new HedgeError(
        'SPILL_UNKNOWN',
        `Spilled data '${name}' was dropped by its owner, so nothing of it is taken.`,
      );
    }
    const key = keyOf(owner.incarnation, epoch);
    let part = this.#parts.get(key);
    if (part === undefined) {
      const id = { store: storeOf(owner.incarnation), epoch, name };
      part = node.part(id, { memory: memoryLimit, disk: diskLimit });
      this.#parts.set(key, part);
    }
    return part;
  }

  #take(stream: PeerStream, part: SpillPart, { epoch, session }: SpillPull): Promise<void> {
    const { buffers } = this.#options.node;
    const owner = stream.peer.incarnation;
    return new FrameReceiver({ stream, owner, epoch, session, part, holdings: this.#holdings, buffers }).run();
  }

  #discard(discards: readonly Discard[]): void {
    for (const { part, sequences } of discards) {
      const key = keyOf(part.owner, part.epoch);
      const held = this.#parts.get(key);
      if (held === undefined) continue;
      if (sequences !== undefined) {
        for (const sequence of sequences) held.remove(sequence);
        continue;
      }
      this.#parts.delete(key);
      this.#options.node.drop(held.id).catch((error: unknown) => {
        this.#options.logger.warn(`Could not free a part of spilled data '${held.id.name}': ${String(error)}`);
      });
    }
  }
}

function keyOf(owner: string, epoch: number): string {
  return `${owner} ${epoch}`;
}
