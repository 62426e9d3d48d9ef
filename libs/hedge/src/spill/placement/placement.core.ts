import type { MemberId } from '../../common/identity.js';
import type { Attempt, PlacementEffect, PlacementInput, MemberCapacity } from './placement.messages.js';
import { Target } from './target.js';

export interface PlacementSettings {
  readonly self: MemberId;
  /** The number of members that store each frame. */
  readonly copies: 1 | 2;
  /** Most frames in flight to one member. More: less waiting for acknowledgements; fewer: less memory. */
  readonly window: number;
  /** A member that owes acknowledgements and sends none for this time is suspended. */
  readonly stallMs: number;
  /** A frame that only unreachable members could store waits for this time, then the placement is exhausted. */
  readonly giveUpMs: number;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

interface UnplacedFrame {
  readonly sequence: number;
  readonly bytes: number;
  /** Since when all members that could store it are unreachable. */
  stuckSince: number | undefined;
  /** Members that have acknowledged it. */
  readonly stored: string[];
  /** Members to which it is in flight. */
  readonly pending: Set<string>;
  /** This pod has no room for it. */
  refusedHere: boolean;
}

/**
 * Decides where the frames of one store are placed. Pure. This pod is first, while it has room; then the other
 * members in proportion to their free bytes, so that none of them becomes a hot spot.
 *
 * Guarantees:
 * - A frame is `placed` exactly once, when `copies` different members have acknowledged it; or `exhausted` is
 *   emitted, once, and nothing is placed afterwards.
 * - A frame is placed elsewhere when its target refuses it, fails or stalls. A later acknowledgement of that target
 *   does not count, and `abandon` names the frame, so that the late copy is discarded.
 * - A member never has more than `window` frames in flight, nor two copies of one frame.
 */
export class Placement {
  readonly #self: Target;
  readonly #targets = new Map<string, Target>();
  /** Frames that are not placed yet, in the order of their sequences. */
  readonly #frames = new Map<number, UnplacedFrame>();
  #exhausted = false;
  #effects: PlacementEffect[] = [];

  constructor(private readonly settings: PlacementSettings) {
    this.#self = new Target(settings.self, Infinity);
    this.#targets.set(settings.self.incarnation, this.#self);
  }

  /** Frames that are not placed yet. */
  get unplaced(): number {
    return this.#frames.size;
  }

  /** The other members of the view, with their free bytes as far as known. */
  capacities(): MemberCapacity[] {
    return [...this.#targets.values()]
      .filter((target) => target !== this.#self && target.present)
      .map(({ member, freeBytes }) => ({ member, freeBytes }));
  }

  step(input: PlacementInput, now: number): readonly PlacementEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    if (!this.#exhausted) this.#assignAll(now);
    this.#scheduleTick(now);
    return this.#effects;
  }

  #handle(input: PlacementInput, now: number): void {
    switch (input.type) {
      case 'frame': {
        const { sequence, bytes } = input;
        if (this.#exhausted) return;
        this.#frames.set(sequence, {
          sequence,
          bytes,
          stuckSince: undefined,
          stored: [],
          pending: new Set(),
          refusedHere: false,
        });
        return;
      }
      case 'members':
        return this.#updateMembers(input.members, now);
      case 'stored':
        return this.#stored(input.attempt, input.sequence, now);
      case 'refused':
        return this.#refused(input.attempt, input.sequences, input.freeBytes);
      case 'failed': {
        const target = this.#current(input.attempt);
        if (target !== undefined) this.#abandon(target, now);
        return;
      }
      case 'tick':
        for (const target of this.#targets.values()) {
          const stalled = target.inFlight.size > 0 && now - target.progressAt >= this.settings.stallMs;
          // A write to the disk of this pod always ends, with a result or an error.
          if (stalled && target !== this.#self) this.#abandon(target, now);
        }
    }
  }

  #updateMembers(members: readonly MemberCapacity[], now: number): void {
    const present = new Set(members.map(({ member }) => member.incarnation));
    for (const target of this.#targets.values()) {
      if (target === this.#self || present.has(target.member.incarnation)) continue;
      target.present = false;
      if (target.open) this.#abandon(target, now);
    }
    for (const { member, freeBytes } of members) {
      if (member.incarnation === this.settings.self.incarnation) continue;
      const known = this.#targets.get(member.incarnation);
      if (known === undefined) {
        this.#targets.set(member.incarnation, new Target(member, freeBytes));
      } else {
        known.present = true;
        known.advertised(freeBytes);
      }
    }
  }

  #stored(attempt: Attempt, sequence: number, now: number): void {
    const target = this.#current(attempt);
    if (target === undefined || !target.inFlight.has(sequence)) return;
    target.stored(sequence, now);
    const frame = this.#frames.get(sequence);
    if (frame === undefined) return;
    frame.pending.delete(attempt.target);
    frame.stored.push(attempt.target);
    if (frame.stored.length < this.settings.copies) return;
    this.#frames.delete(sequence);
    this.#effects.push({ type: 'placed', sequence, targets: frame.stored });
  }

  #refused(attempt: Attempt, sequences: readonly number[], freeBytes: number): void {
    const target = this.#current(attempt);
    if (target === undefined) return;
    // This pod is tried for every frame: that costs nothing, and room may have become free.
    if (target !== this.#self) target.refused(freeBytes);
    this.#unassign(target, sequences);
  }

  /** The target, if this attempt is still its current one. */
  #current({ target, session }: Attempt): Target | undefined {
    const found = this.#targets.get(target);
    return found?.open === true && found.session === session ? found : undefined;
  }

  #abandon(target: Target, now: number): void {
    const { incarnation } = target.member;
    const sequences = [...target.inFlight];
    this.#effects.push({ type: 'abandon', attempt: { target: incarnation, session: target.session }, sequences });
    this.#unassign(target, sequences);
    target.failed(now, this.settings.random());
  }

  /** These frames need another target. */
  #unassign(target: Target, sequences: readonly number[]): void {
    for (const sequence of sequences) {
      target.inFlight.delete(sequence);
      const frame = this.#frames.get(sequence);
      if (frame === undefined) continue;
      frame.pending.delete(target.member.incarnation);
      frame.refusedHere ||= target === this.#self;
    }
  }

  #assignAll(now: number): void {
    for (const frame of this.#frames.values()) {
      while (frame.stored.length + frame.pending.size < this.settings.copies) {
        const target = this.#choose(frame, now);
        if (target !== undefined) {
          this.#assign(frame, target, now);
          continue;
        }
        if (!this.#isHopeless(frame, now)) break;
        this.#exhausted = true;
        this.#effects.push({ type: 'exhausted', sequence: frame.sequence });
        return;
      }
    }
  }

  #assign(frame: UnplacedFrame, target: Target, now: number): void {
    target.assign(frame.sequence, frame.bytes, now);
    frame.pending.add(target.member.incarnation);
    const attempt = { target: target.member.incarnation, session: target.session };
    this.#effects.push({ type: 'store', attempt, member: target.member, sequence: frame.sequence });
  }

  #choose(frame: UnplacedFrame, now: number): Target | undefined {
    if (!frame.refusedHere && !this.#isAssigned(frame, this.#self)) return this.#self;
    return nextByWeight(
      this.#candidates(frame).filter(
        ({ suspendedUntil, inFlight }) => now >= suspendedUntil && inFlight.size < this.settings.window,
      ),
    );
  }

  /** Other members that can store it, now or later. */
  #candidates(frame: UnplacedFrame): Target[] {
    return [...this.#targets.values()].filter(
      (target) => target !== this.#self && target.present && !target.full && !this.#isAssigned(frame, target),
    );
  }

  #isAssigned(frame: UnplacedFrame, { member }: Target): boolean {
    return frame.pending.has(member.incarnation) || frame.stored.includes(member.incarnation);
  }

  /** For a frame without a target now: true if no member has room for it, or if those with room stay unreachable. */
  #isHopeless(frame: UnplacedFrame, now: number): boolean {
    const candidates = this.#candidates(frame);
    if (candidates.some(({ suspendedUntil }) => now >= suspendedUntil)) {
      frame.stuckSince = undefined;
      return false;
    }
    frame.stuckSince ??= now;
    return candidates.length === 0 || now - frame.stuckSince >= this.settings.giveUpMs;
  }

  /** Asks for a tick at the next moment at which a target stalls or its suspension ends. */
  #scheduleTick(now: number): void {
    if (this.#frames.size === 0) return;
    let at = Infinity;
    for (const target of this.#targets.values()) {
      if (target === this.#self) continue;
      if (target.inFlight.size > 0) at = Math.min(at, target.progressAt + this.settings.stallMs);
      if (target.suspendedUntil > now) at = Math.min(at, target.suspendedUntil);
    }
    if (at < Infinity) this.#effects.push({ type: 'wake', afterMs: Math.max(0, Math.ceil(at - now)) });
  }
}

/**
 * Smooth weighted round robin: each target gains credit in proportion to its free bytes; the one with the most credit
 * is chosen, and pays the credit that all of them gained. So the shares are right, and no target is chosen many times
 * in a row.
 * @see https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
 */
function nextByWeight(targets: readonly Target[]): Target | undefined {
  let chosen: Target | undefined;
  let total = 0;
  for (const target of targets) {
    // A target that advertises nothing is the last resort: its advertisement may be old.
    const weight = Math.max(1, target.freeBytes);
    target.credit += weight;
    total += weight;
    if (chosen === undefined || target.credit > chosen.credit) chosen = target;
  }
  if (chosen !== undefined) chosen.credit -= total;
  return chosen;
}
