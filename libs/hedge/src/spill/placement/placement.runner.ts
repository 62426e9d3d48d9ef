import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { InputQueue } from '../../common/async/input-queue.js';
import { reserveRoom, type BufferLease, type Refusal, type SpillPart, type SpillTier } from '../node/storage.js';
import type { SpillFrame } from '../records/frame.js';
import { FrameSender } from '../replication/frame-sender.js';
import type { ReplicaClient } from '../replication/replica-client.js';
import type { FrameIndex } from './frame-index.js';
import { Placement } from './placement.core.js';
import type { Attempt, MemberCapacity, PlacementEffect, PlacementInput } from './placement.messages.js';

/** Frames in flight to one member: enough to keep it busy while acknowledgements travel. */
const WINDOW = 8;

/** One store, as its writers and readers need it. */
export interface StoreIdentity {
  readonly name: string;
  readonly epoch: number;
  /** On each member, in bytes. */
  readonly limits: Readonly<Record<SpillTier, number>>;
  readonly copies: 1 | 2;
}

export interface PlacementRunnerOptions {
  readonly store: StoreIdentity;
  readonly self: MemberId;
  readonly part: SpillPart;
  readonly index: FrameIndex;
  readonly replicas: ReplicaClient;
  /** The other members, and the capacity that they advertise. */
  readonly capacities: () => readonly MemberCapacity[];
  readonly clock: Clock;
  readonly stallMs: number;
  readonly giveUpMs: number;
  readonly random: () => number;
}

interface InFlight {
  readonly frame: SpillFrame;
  readonly lease: BufferLease;
  /** This pod's memory tier keeps the buffer, or a cancelled stream may still send it: it is never reused. */
  detached: boolean;
}

interface Session {
  readonly member: MemberId;
  readonly session: number;
  readonly sender: FrameSender;
}

/** Stores the sealed frames of one store where `Placement` decides. */
export class PlacementRunner {
  readonly #options: PlacementRunnerOptions;
  readonly #placement: Placement;
  /** By sequence. */
  readonly #frames = new Map<number, InFlight>();
  /** The latest session with each member, by incarnation. */
  readonly #sessions = new Map<string, Session>();
  readonly #inputs = new InputQueue<PlacementInput>((input) => this.#handle(input));
  readonly #failure = new AbortController();
  /** Copies that are neither stored nor refused: sequence and target. */
  readonly #pending = new Set<string>();
  #settled: (() => void)[] = [];
  #ended = false;
  #cancelWake: () => void = () => undefined;

  constructor(options: PlacementRunnerOptions) {
    const { self, store, stallMs, giveUpMs, random } = options;
    this.#options = options;
    this.#placement = new Placement({ self, copies: store.copies, window: WINDOW, stallMs, giveUpMs, random });
  }

  /** Aborts with SPILL_FULL when no member has room for a frame. */
  get signal(): AbortSignal {
    return this.#failure.signal;
  }

  place(frame: SpillFrame, lease: BufferLease): void {
    const { sequence } = frame.header;
    const bytes = frame.bytes.length;
    this.#options.index.add(frame.header, bytes);
    if (this.signal.aborted) return lease.detach();
    this.#frames.set(sequence, { frame, lease, detached: false });
    this.#step({ type: 'members', members: this.#options.capacities() });
    this.#step({ type: 'frame', sequence, bytes });
  }

  /** The members or their capacity have changed. */
  membersChanged(): void {
    if (this.#frames.size > 0) this.#step({ type: 'members', members: this.#options.capacities() });
  }

  /** Resolves when every frame is placed; after a failure, when no copy is pending. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0 || (this.#frames.size > 0 && !this.signal.aborted)) {
      await new Promise<void>((resolve) => void this.#settled.push(resolve));
    }
  }

  /** Ends the streams, and discards the frames that no reader can request. To be called when settled. */
  finish(): void {
    const { index, store, part, self, replicas } = this.#options;
    const unreadable = this.signal.aborted ? index.truncate(index.firstWithout(store.copies)) : [];
    const unreadableOn = ({ incarnation }: MemberId): number[] =>
      unreadable
        .filter(({ copies }) => copies.some(({ member }) => member.incarnation === incarnation))
        .map(({ sequence }) => sequence);
    for (const sequence of unreadableOn(self)) part.remove(sequence);
    for (const { member, session, sender } of this.#sessions.values()) {
      sender.end();
      const sequences = unreadableOn(member);
      if (sequences.length > 0) replicas.discard(member, store.epoch, session, sequences);
    }
    this.#end();
  }

  /** Stops at once: the store is dropped. */
  cancel(reason: HedgeError): void {
    this.#failure.abort(reason);
    for (const { sender } of this.#sessions.values()) sender.cancel(reason);
    this.#pending.clear();
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#cancelWake();
    this.#sessions.clear();
    for (const [sequence, { lease }] of this.#frames) {
      // A stream to another member may still send it.
      this.#options.part.detach(sequence);
      lease.detach();
    }
    this.#frames.clear();
    this.#notifySettled();
  }

  #step(input: PlacementInput): void {
    if (this.#ended || !this.#inputs.push(input)) return;
    if (this.signal.aborted) this.#detachUnplaced();
    this.#notifySettled();
  }

  /** After a failure no frame is placed any more: frees the buffers of frames without a pending copy. */
  #detachUnplaced(): void {
    const pending = new Set([...this.#pending].map((copy) => Number(copy.slice(0, copy.indexOf(' ')))));
    for (const [sequence, { lease }] of this.#frames) {
      if (pending.has(sequence)) continue;
      this.#frames.delete(sequence);
      lease.detach();
    }
  }

  #handle(input: PlacementInput): void {
    for (const effect of this.#placement.step(input, this.#options.clock.now().mono)) this.#perform(effect);
  }

  #perform(effect: PlacementEffect): void {
    switch (effect.type) {
      case 'store':
        return this.#store(effect.attempt, effect.member, effect.sequence);
      case 'placed': {
        const placed = this.#frames.get(effect.sequence);
        this.#frames.delete(effect.sequence);
        if (placed?.detached === true) placed.lease.detach();
        else placed?.lease.release();
        return;
      }
      case 'abandon':
        return this.#abandon(effect.attempt, effect.sequences);
      case 'exhausted':
        return this.#failure.abort(this.#fullError(effect.sequence));
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.#options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
    }
  }

  #store(attempt: Attempt, member: MemberId, sequence: number): void {
    const inFlight = this.#frames.get(sequence);
    if (inFlight === undefined) return;
    this.#pending.add(`${sequence} ${attempt.target}`);
    if (attempt.target === this.#options.self.incarnation) return this.#storeHere(attempt, inFlight);
    this.#senderTo(attempt, member).offer(inFlight.frame);
  }

  #storeHere(attempt: Attempt, inFlight: InFlight): void {
    const { part, self } = this.#options;
    const { frame } = inFlight;
    const { sequence } = frame.header;
    const reservation = reserveRoom(part, frame.bytes.length);
    if (!reservation.granted) {
      return this.#refused(attempt, [sequence], reservation.free.memory + reservation.free.disk);
    }
    inFlight.detached ||= reservation.tier === 'memory';
    part.put(frame, reservation).then(
      () => this.#stored(attempt, self, sequence, reservation.tier),
      () => this.#refused(attempt, [sequence], 0),
    );
  }

  #senderTo(attempt: Attempt, member: MemberId): FrameSender {
    const { replicas, store } = this.#options;
    const known = this.#sessions.get(attempt.target);
    if (known?.session === attempt.session) return known.sender;
    const { name, epoch, limits } = store;
    const { session } = attempt;
    const pull = { epoch, session, name, memoryLimit: limits.memory, diskLimit: limits.disk };
    const sender = new FrameSender(replicas.openWriteStream(member, pull), {
      stored: (sequence, tier) => this.#stored(attempt, member, sequence, tier),
      refused: (sequences, freeBytes) => this.#refused(attempt, sequences, freeBytes),
      failed: () => this.#step({ type: 'failed', attempt }),
    });
    this.#sessions.set(attempt.target, { member, session, sender });
    return sender;
  }

  #stored(attempt: Attempt, member: MemberId, sequence: number, tier: SpillTier): void {
    // A copy of an abandoned attempt does not count, and is discarded.
    if (!this.#pending.delete(`${sequence} ${attempt.target}`)) return;
    this.#options.index.stored(sequence, { member, tier });
    this.#step({ type: 'stored', attempt, sequence });
  }

  #refused(attempt: Attempt, sequences: readonly number[], freeBytes: number): void {
    for (const sequence of sequences) this.#pending.delete(`${sequence} ${attempt.target}`);
    this.#step({ type: 'refused', attempt, sequences, freeBytes });
  }

  #abandon({ target, session }: Attempt, sequences: readonly number[]): void {
    const { part, replicas, store } = this.#options;
    for (const sequence of sequences) {
      this.#pending.delete(`${sequence} ${target}`);
      const inFlight = this.#frames.get(sequence);
      if (inFlight !== undefined) inFlight.detached = true;
      part.detach(sequence);
    }
    const current = this.#sessions.get(target);
    if (current === undefined || current.session !== session) return;
    const { member, sender } = current;
    sender.cancel(new HedgeError('DEADLINE_EXCEEDED', `${member.address} acknowledged no frame in time`));
    replicas.discard(member, store.epoch, session, sequences);
  }

  #notifySettled(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #fullError(sequence: number): HedgeError {
    const { store, self, part } = this.#options;
    const others = this.#placement.capacities();
    const bytes = this.#frames.get(sequence)?.frame.bytes.length ?? 0;
    const here = reserveRoom(part, bytes);
    if (here.granted) here.release();
    const { memory, disk } = part.free();
    const free = [
      { address: self.address, freeBytes: memory + disk },
      ...others.map(({ member, freeBytes }) => ({ address: member.address, freeBytes })),
    ];
    const details = { store: store.name, copies: store.copies, free };
    if (store.copies === 2 && others.length === 0) {
      return new HedgeError(
        'SPILL_FULL',
        `Spilled data '${store.name}' has no room for more records: copies: 2 needs two pods with room, and this group has 1. ` +
          'Start another pod, or use copies: 1; then create it again. Call close() to read the records before.',
        { details },
      );
    }
    const where = free.map(({ address, freeBytes }) => `${address || 'this pod'} ${inMB(freeBytes)}`).join(', ');
    const reason = here.granted ? '' : ` On this pod, ${REASONS[here.by]}.`;
    return new HedgeError(
      'SPILL_FULL',
      `Spilled data '${store.name}' has no room for more records${store.copies === 2 ? ' in two copies' : ''}. Free: ${where}.${reason} ` +
        'Call close() to read the records before. For more room drop other spilled data, add pods, or raise memoryLimit and diskLimit of the data, or `spill.memory` and `spill.disk` of the pods; then create it again.',
      { details },
    );
  }
}

/** Why this pod has no room, for the error. */
const REASONS: Readonly<Record<Refusal['by'], string>> = {
  'store-limit': 'memoryLimit and diskLimit are reached',
  'node-budget': '`spill.memory` and `spill.disk` are used up',
  'free-disk-floor': 'the disk has only `spill.minFreeDisk` left',
  'disk-failure': 'the disk has just failed',
};

function inMB(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
