import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { bytesPayload } from '../../messaging/message.js';
import type { RequestType } from '../../messaging/request-type.js';
import type { Messenger } from '../../messaging/messenger.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { RequestKind } from '../../wire/hedge/v1/link.js';
import { SpillPull, SpillRenewal, type SpillTake } from '../../wire/hedge/v1/spill.js';
import { encodeOpening } from './messages.js';

/** Asks a member to open a stream that pulls frames from this pod. It shares the slots of renewals, for it is short. */
export const SPILL_PULL: RequestType = {
  kind: RequestKind.REQUEST_KIND_SPILL_PULL,
  name: 'spill_pull',
  runsAt: 'member',
  duringDrain: 'accepted',
  slots: 'renewals',
  mayUseReserve: true,
};

/** Keeps the frames that a member holds for this pod. */
export const SPILL_RENEWAL: RequestType = {
  kind: RequestKind.REQUEST_KIND_SPILL_RENEWAL,
  name: 'spill_renewal',
  runsAt: 'member',
  duringDrain: 'accepted',
  slots: 'renewals',
  mayUseReserve: true,
};

export interface ReplicaClientOptions {
  readonly streams: StreamTransport;
  readonly messenger: Pick<Messenger, 'request'>;
  readonly clock: Clock;
  /** A member that opens no stream within this time counts as unreachable. */
  readonly openTimeoutMs: number;
  readonly renewEveryMs: number;
}

/** The replica of one store on one member, as its owner knows it. */
interface Replica {
  /** Frames that arrive by this session or an earlier one no longer count. */
  closedSession: number;
  /** Sequences of discarded frames, each with the last session whose copy is discarded. */
  readonly discarded: Map<number, number>;
}

interface Holder {
  readonly member: MemberId;
  /** By epoch of the store; live stores only. */
  readonly replicas: Map<number, Replica>;
  /** No renewal has reported the last drop or discard to the member yet. */
  outdated: boolean;
  renewing: Promise<void> | undefined;
}

/**
 * The owner's side of replication; `ReplicaServer` is the other side. It opens the streams of frames, and renews the
 * replicas: it reports to each holder, with every heartbeat, which stores of this pod are live and which frames are
 * discarded. A holder frees a store that a renewal omits, and everything when no renewal arrives. A discard is
 * repeated until the holder has acknowledged it.
 */
export class ReplicaClient {
  readonly #options: ReplicaClientOptions;
  /** Resolvers of the streams that members were asked to open. */
  readonly #expected = new Map<string, (stream: PeerStream) => void>();
  /** By incarnation. */
  readonly #holders = new Map<string, Holder>();
  readonly #liveEpochs = new Set<number>();
  #lastEpoch = 0;
  #renewals = 0;
  #cancelTimer: (() => void) | undefined;
  #stopped = false;

  constructor(options: ReplicaClientOptions) {
    this.#options = options;
  }

  /** The epoch of a new store, which is live until `drop`. */
  nextEpoch(): number {
    this.#lastEpoch += 1;
    this.#liveEpochs.add(this.#lastEpoch);
    return this.#lastEpoch;
  }

  /**
   * Opens a stream for `FrameSender`. The member calls this pod, because in grpc-js the caller receives faster. A
   * client cannot be called, so it opens the stream itself. From now on the member may hold frames of the store.
   * @throws HedgeError MEMBER_UNREACHABLE, SPILL_UNKNOWN, or the error of the member
   */
  async openWriteStream(member: MemberId, pull: SpillPull): Promise<PeerStream> {
    const { streams, messenger, openTimeoutMs: timeoutMs } = this.#options;
    this.#replica(member, pull.epoch);
    this.#scheduleRenewal();
    if (streams.self.address === '') {
      return streams.openStream(member, { purpose: 'spill', opening: encodeOpening({ $case: 'give', value: pull }) });
    }
    const key = keyOf(member, pull);
    const stream = this.#expect(key, member);
    try {
      const payload = bytesPayload(SpillPull.encode(pull).finish());
      const name = `stream for frames of spilled data '${pull.name}'`;
      await messenger.request({ to: member, type: SPILL_PULL, topic: '', name, payload, timeoutMs });
      return await stream;
    } catch (error) {
      // The member may have opened the stream although its reply was lost.
      stream.then((opened) => opened.cancel(error as HedgeError)).catch(() => undefined);
      throw error;
    } finally {
      this.#expected.delete(key);
    }
  }

  /** A member has opened the stream that `openWriteStream` asked for. */
  acceptWriteStream(stream: PeerStream, take: SpillTake): void {
    const resolve = this.#expected.get(keyOf(stream.peer, take));
    if (resolve !== undefined) return resolve(stream);
    stream.cancel(
      new HedgeError('SPILL_UNKNOWN', 'The owner of the spilled data no longer waits for this stream. Close it.'),
    );
  }

  /** Opens a stream for `FrameReadClient`. */
  openReadStream(member: MemberId, store: { epoch: number; name: string }): Promise<PeerStream> {
    const opening = encodeOpening({ $case: 'read', value: store });
    return this.#options.streams.openStream(member, { purpose: 'spill', opening });
  }

  /** Closes the sessions up to this one: of their frames, those that are not acknowledged and these no longer count. */
  discard(member: MemberId, epoch: number, session: number, sequences: readonly number[]): void {
    const { holder, replica } = this.#replica(member, epoch);
    replica.closedSession = Math.max(replica.closedSession, session);
    for (const sequence of sequences) replica.discarded.set(sequence, session);
    holder.outdated = true;
  }

  /** Ends a store. Resolves when each of its holders has acknowledged this, or could not be reached. */
  async drop(epoch: number): Promise<void> {
    this.#liveEpochs.delete(epoch);
    const renewed: Promise<void>[] = [];
    for (const holder of this.#holders.values()) {
      if (!holder.replicas.delete(epoch)) continue;
      holder.outdated = true;
      // A renewal in flight may have been sent before this drop.
      renewed.push((holder.renewing ?? Promise.resolve()).then(() => this.#renew(holder)));
    }
    await Promise.all(renewed);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
  }

  #expect(key: string, member: MemberId): Promise<PeerStream> {
    const { clock, openTimeoutMs } = this.#options;
    const stream = new Promise<PeerStream>((resolve, reject) => {
      const cancel = clock.after(openTimeoutMs, () => {
        const message = `${member.address} opened no stream for spilled frames within ${openTimeoutMs} ms`;
        reject(new HedgeError('MEMBER_UNREACHABLE', message));
      });
      this.#expected.set(key, (opened) => {
        cancel();
        resolve(opened);
      });
    });
    // After a failed request nothing awaits the stream.
    stream.catch(() => undefined);
    return stream;
  }

  /** Keeps a timer that is already set, so that frequent calls do not postpone the renewal. */
  #scheduleRenewal(): void {
    const { clock, renewEveryMs } = this.#options;
    if (this.#stopped) return;
    this.#cancelTimer ??= clock.after(renewEveryMs, () => {
      this.#cancelTimer = undefined;
      for (const holder of this.#holders.values()) void this.#renew(holder);
      if (this.#holders.size > 0) this.#scheduleRenewal();
    });
  }

  /** Has one renewal in flight to each holder. Never rejects. */
  #renew(holder: Holder): Promise<void> {
    holder.renewing ??= this.#sendRenewal(holder).then(
      () => void (holder.renewing = undefined),
      () => {
        holder.renewing = undefined;
        // It holds nothing of a live store, and frees the rest when no renewal arrives.
        if (holder.replicas.size === 0) this.#holders.delete(holder.member.incarnation);
      },
    );
    return holder.renewing;
  }

  async #sendRenewal(holder: Holder): Promise<void> {
    const { messenger, renewEveryMs } = this.#options;
    const live = [...this.#liveEpochs].map((epoch) => {
      const { closedSession = 0, discarded = [] } = holder.replicas.get(epoch) ?? {};
      return { epoch, closedSession, discarded: [...discarded].map(([sequence, session]) => ({ sequence, session })) };
    });
    this.#renewals += 1;
    const renewal = SpillRenewal.encode({ number: this.#renewals, issued: this.#lastEpoch, live }).finish();
    holder.outdated = false;
    await messenger.request({
      to: holder.member,
      type: SPILL_RENEWAL,
      topic: '',
      name: 'renewal of spill replicas',
      payload: bytesPayload(renewal),
      timeoutMs: 2 * renewEveryMs,
    });
    for (const { epoch, discarded } of live) {
      const left = holder.replicas.get(epoch)?.discarded;
      for (const { sequence, session } of discarded) if (left?.get(sequence) === session) left.delete(sequence);
    }
    if (holder.replicas.size === 0 && !holder.outdated) this.#holders.delete(holder.member.incarnation);
  }

  #replica(member: MemberId, epoch: number): { holder: Holder; replica: Replica } {
    let holder = this.#holders.get(member.incarnation);
    if (holder === undefined) {
      holder = { member, replicas: new Map(), outdated: false, renewing: undefined };
      this.#holders.set(member.incarnation, holder);
    }
    let replica = holder.replicas.get(epoch);
    if (replica === undefined) {
      replica = { closedSession: 0, discarded: new Map() };
      holder.replicas.set(epoch, replica);
    }
    return { holder, replica };
  }
}

function keyOf({ incarnation }: MemberId, { epoch, session }: SpillTake): string {
  return `${incarnation} ${epoch} ${session}`;
}
