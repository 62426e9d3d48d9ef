import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { InputQueue } from '../../common/async/input-queue.js';
import type { BufferLease, Refusal, SpillPart, SpillTier } from '../node/storage.js';
import type { SpillFrame } from '../records/frame.js';
import type { FrameIndex } from '../placement/frame-index.js';
import { Placement } from '../placement/placement.core.js';
import type { Attempt, PlacementEffect, PlacementInput, Space } from '../placement/placement.messages.js';
import { FrameSender } from '../replication/frame-sender.js';
import type { Renewals } from '../replication/renewals.js';
import type { PeerConnections } from '../replication/routes.js';
import { roomFor } from '../replication/frame-receiver.js';

/** Frames on the way to one member: enough to keep it busy while acknowledgements travel. */
const WINDOW = 8;

/** One store, as those that write and read it need it. */
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
  readonly routes: PeerConnections;
  readonly renewals: Renewals;
  /** The other members, and what they lend. */
  readonly spaces: () => readonly Space[];
  readonly clock: Clock;
  readonly stallMs: number;
  readonly giveUpMs: number;
  readonly random: () => number;
}

interface OnItsWay {
  readonly frame: SpillFrame;
  readonly loan: BufferLease;
  /** The bytes are in this pod's memory tier, or may wait in a stream that was given up: they are not used again. */
  kept: boolean;
}

/** Puts the sealed frames of one store where `Placement` says. */
export class PlacementRunner {
  readonly #options: PlacementRunnerOptions;
  readonly #placement: Placement;
  readonly #frames = new Map<number, OnItsWay>();
  /** The last one to each member that was sent to, by incarnation. */
  readonly #deliveries = new Map<
    string,
    { readonly member: MemberId; readonly session: number; readonly way: FrameSender }
  >();
  readonly #inputs = new InputQueue<PlacementInput>((input) => this.#take(input));
  readonly #failure = new AbortController();
  /** Stores under way: sequence and target. */
  readonly #pending = new Set<string>();
  #settled: (() => void)[] = [];
  #over = false;
  #cancelWake: () => void = () => undefined;

  constructor(options: PlacementRunnerOptions) {
    const { self, store, stallMs, giveUpMs, random } = options;
    this.#options = options;
    this.#placement = new Placement({ self, copies: store.copies, window: WINDOW, stallMs, giveUpMs, random });
  }

  /** Aborts with SPILL_FULL when there is no place for a frame. */
  get signal(): AbortSignal {
    return this.#failure.signal;
  }

  place(frame: SpillFrame, loan: BufferLease): void {
    const { sequence } = frame.header;
    const bytes = frame.bytes.length;
    this.#options.index.add(frame.header, bytes);
    if (this.signal.aborted) return loan.detach();
    this.#frames.set(sequence, { frame, loan, kept: false });
    this.#step({ type: 'members', members: this.#options.spaces() });
    this.#step({ type: 'frame', sequence, bytes });
  }

  /** The members or their space have changed. */
  membersChanged(): void {
    if (this.#frames.size > 0) this.#step({ type: 'members', members: this.#options.spaces() });
  }

  /** Resolves when every frame is placed, or after a failure when nothing is under way any more. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0 || (this.#frames.size > 0 && !this.signal.aborted)) {
      await new Promise<void>((resolve) => void this.#settled.push(resolve));
    }
  }

  /** To be called once settled: ends the streams, and has discarded what no reader will ask for. */
  finish(): void {
    const { index, store, part, self, renewals } = this.#options;
    const unread = this.signal.aborted ? index.truncate(index.firstWithout(store.copies)) : [];
    const unreadOn = ({ incarnation }: MemberId): number[] =>
      unread
        .filter(({ copies }) => copies.some(({ member }) => member.incarnation === incarnation))
        .map(({ sequence }) => sequence);
    for (const sequence of unreadOn(self)) part.remove(sequence);
    for (const { member, session, way } of this.#deliveries.values()) {
      way.end();
      const sequences = unreadOn(member);
      if (sequences.length > 0) renewals.discard(member, store.epoch, session, sequences);
    }
    this.#release();
  }

  /** Gives everything up: the store is dropped. */
  cancel(reason: HedgeError): void {
    this.#failure.abort(reason);
    for (const { way } of this.#deliveries.values()) way.cancel(reason);
    this.#pending.clear();
    this.#release();
  }

  #release(): void {
    this.#over = true;
    this.#cancelWake();
    this.#deliveries.clear();
    for (const [sequence, { loan }] of this.#frames) {
      // It may wait in a stream to another member.
      this.#options.part.share(sequence);
      loan.detach();
    }
    this.#frames.clear();
    this.#tellSettled();
  }

  #step(input: PlacementInput): void {
    if (this.#over || !this.#inputs.push(input)) return;
    if (this.signal.aborted) this.#letGo();
    this.#tellSettled();
  }

  /** After a failure nothing is placed any more: a frame that is on no way keeps no room from other stores. */
  #letGo(): void {
    const onTheWay = new Set([...this.#pending].map((store) => Number(store.slice(0, store.indexOf(' ')))));
    for (const [sequence, { loan }] of this.#frames) {
      if (onTheWay.has(sequence)) continue;
      this.#frames.delete(sequence);
      loan.detach();
    }
  }

  #take(input: PlacementInput): void {
    for (const effect of this.#placement.step(input, this.#options.clock.now().mono)) this.#perform(effect);
  }

  #perform(effect: PlacementEffect): void {
    switch (effect.type) {
      case 'store':
        return this.#store(effect.attempt, effect.member, effect.sequence);
      case 'placed': {
        const placed = this.#frames.get(effect.sequence);
        this.#frames.delete(effect.sequence);
        if (placed?.kept === true) placed.loan.detach();
        else placed?.loan.release();
        return;
      }
      case 'abandon':
        return this.#abandon(effect.attempt, effect.sequences);
      case 'exhausted':
        return this.#failure.abort(this.#full(effect.sequence));
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.#options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
    }
  }

  #store(attempt: Attempt, member: MemberId, sequence: number): void {
    const way = this.#frames.get(sequence);
    if (way === undefined) return;
    this.#pending.add(`${sequence} ${attempt.target}`);
    if (attempt.target === this.#options.self.incarnation) return this.#storeHere(attempt, way);
    this.#deliveryTo(attempt, member).offer(way.frame);
  }

  #storeHere(attempt: Attempt, way: OnItsWay): void {
    const { part, self } = this.#options;
    const { frame } = way;
    const { sequence } = frame.header;
    const room = roomFor(part, frame.bytes.length);
    if (!room.granted) return this.#refused(attempt, [sequence], room.free.memory + room.free.disk);
    way.kept ||= room.tier === 'memory';
    part.put(frame, room).then(
      () => this.#stored(attempt, self, sequence, room.tier),
      () => this.#refused(attempt, [sequence], 0),
    );
  }

  #deliveryTo(attempt: Attempt, member: MemberId): FrameSender {
    const { routes, renewals, store } = this.#options;
    const known = this.#deliveries.get(attempt.target);
    if (known?.session === attempt.session) return known.way;
    renewals.held(member, store.epoch);
    const { name, epoch, limits } = store;
    const pull = { epoch, session: attempt.session, name, memoryLimit: limits.memory, diskLimit: limits.disk };
    const way = new FrameSender(routes.toGive(member, pull), {
      stored: (sequence, tier) => this.#stored(attempt, member, sequence, tier),
      refused: (sequences, freeBytes) => this.#refused(attempt, sequences, freeBytes),
      failed: () => this.#step({ type: 'failed', attempt }),
    });
    this.#deliveries.set(attempt.target, { member, session: attempt.session, way });
    return way;
  }

  #stored(attempt: Attempt, member: MemberId, sequence: number, tier: SpillTier): void {
    // After it was given up, the copy does not count, and is discarded.
    if (!this.#pending.delete(`${sequence} ${attempt.target}`)) return;
    this.#options.index.stored(sequence, { member, tier });
    this.#step({ type: 'stored', attempt, sequence });
  }

  #refused(attempt: Attempt, sequences: readonly number[], freeBytes: number): void {
    for (const sequence of sequences) this.#pending.delete(`${sequence} ${attempt.target}`);
    this.#step({ type: 'refused', attempt, sequences, freeBytes });
  }

  #abandon({ target, session }: Attempt, sequences: readonly number[]): void {
    for (const sequence of sequences) {
      this.#pending.delete(`${sequence} ${target}`);
      const way = this.#frames.get(sequence);
      if (way !== undefined) way.kept = true;
      this.#options.part.share(sequence);
    }
    const delivery = this.#deliveries.get(target);
    if (delivery === undefined || delivery.session !== session) return;
    delivery.way.cancel(
      new HedgeError('DEADLINE_EXCEEDED', `${delivery.member.address} acknowledged no frame in time`),
    );
    this.#options.renewals.discard(delivery.member, this.#options.store.epoch, session, sequences);
  }

  #tellSettled(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #full(sequence: number): HedgeError {
    const { store, self, part } = this.#options;
    const bytes = this.#frames.get(sequence)?.frame.bytes.length ?? 0;
    const here = roomFor(part, bytes);
    if (here.granted) here.release();
    const free = [
      { address: self.address, freeBytes: here.granted ? bytes : here.free.memory + here.free.disk },
      ...this.#placement.spaces().map(({ member, freeBytes }) => ({ address: member.address, freeBytes })),
    ];
    const where = free.map(({ address, freeBytes }) => `${address || 'this pod'} ${inMB(freeBytes)}`).join(', ');
    const reason = here.granted ? '' : ` Here ${REASONS[here.by]}.`;
    return new HedgeError(
      'SPILL_FULL',
      `Spilled data '${store.name}' found no place for more${store.copies === 2 ? ' in two copies' : ''}. It may still take: ${where}.${reason} ` +
        'What was written stays readable after close(). Create another store when there is room: drop others, add pods, or raise memoryLimit and diskLimit of the store, `spill.memory` and `spill.disk` of the pods.',
      { details: { store: store.name, copies: store.copies, free } },
    );
  }
}

/** Why there is no room on this pod, for people. */
const REASONS: Readonly<Record<Refusal['by'], string>> = {
  'store-limit': 'the limits of the store are reached',
  'node-budget': 'what the pod lends is used up',
  'free-disk-floor': 'the disk has only `spill.minFreeDisk` left',
  'disk-failure': 'the disk has just failed',
};

function inMB(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
