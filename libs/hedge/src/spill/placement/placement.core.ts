import type { MemberId } from '../../common/identity.js';
import type { Attempt, PlacementEffect, PlacementInput, Space } from './placement.messages.js';
import { Target } from './target.js';

export interface PlacementSettings {
  readonly self: MemberId;
  /** Members that each frame is stored on. */
  readonly copies: 1 | 2;
  /** Frames on the way to one member at once. More: less waiting for acknowledgements; fewer: less memory. */
  readonly window: number;
  /** A member that owes acknowledgements and gives none for so long is given up for now. */
  readonly stallMs: number;
  /** A frame that finds nobody to take it is kept waiting for unreachable members for so long. */
  readonly giveUpMs: number;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

interface Waiting {
  readonly sequence: number;
  readonly bytes: number;
  /** Since when only members that cannot be reached are left to take it. */
  stuckSince: number | undefined;
  /** Where copies are, acknowledged. */
  readonly stored: string[];
  /** Where copies are on the way to. */
  readonly pending: Set<string>;
  /** This pod's own tiers have no room for it. */
  refusedHere: boolean;
}

/**
 * Where the frames of one store go, as a state machine without clock, timers or I/O: this pod first, as long
 * as its own tiers take them, then the other members in proportion to the space they have left, so that no one
 * of them is the hot spot.
 *
 * Guarantees:
 * - A frame is `placed` exactly once, when `copies` different members have acknowledged it; or `exhausted` is
 *   given, once, and nothing is placed from then on.
 * - A frame goes elsewhere when its target refuses, breaks or stalls. An acknowledgement that comes after
 *   that counts for nothing, and `abandon` names the frame, so that the late copy is discarded.
 * - A member never has more than `window` frames on the way, nor two copies of one frame.
 */
export class Placement {
  readonly #self: Target;
  readonly #targets = new Map<string, Target>();
  /** In the order of their sequences. */
  readonly #waiting = new Map<number, Waiting>();
  #exhausted = false;
  #effects: PlacementEffect[] = [];

  constructor(private readonly settings: PlacementSettings) {
    this.#self = new Target(settings.self, Infinity);
    this.#targets.set(settings.self.incarnation, this.#self);
  }

  /** Frames that are not placed yet. */
  get unplaced(): number {
    return this.#waiting.size;
  }

  /** The other members that are there, with what they have left, as they said last. */
  spaces(): Space[] {
    return [...this.#targets.values()]
      .filter((target) => target !== this.#self && target.present)
      .map(({ member, freeBytes }) => ({ member, freeBytes }));
  }

  step(input: PlacementInput, now: number): readonly PlacementEffect[] {
    this.#effects = [];
    this.#take(input, now);
    if (!this.#exhausted) this.#assignAll(now);
    this.#wish(now);
    return this.#effects;
  }

  #take(input: PlacementInput, now: number): void {
    switch (input.type) {
      case 'frame': {
        const { sequence, bytes } = input;
        if (this.#exhausted) return;
        this.#waiting.set(sequence, {
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
        return this.#membersAre(input.members, now);
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
          // Its own disk has no other way to be reached: what it took it will end, well or not.
          if (stalled && target !== this.#self) this.#abandon(target, now);
        }
    }
  }

  #membersAre(members: readonly Space[], now: number): void {
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
        known.heard(freeBytes);
      }
    }
  }

  #stored(attempt: Attempt, sequence: number, now: number): void {
    const target = this.#current(attempt);
    if (target === undefined || !target.inFlight.has(sequence)) return;
    target.stored(sequence, now);
    const frame = this.#waiting.get(sequence);
    if (frame === undefined) return;
    frame.pending.delete(attempt.target);
    frame.stored.push(attempt.target);
    if (frame.stored.length < this.settings.copies) return;
    this.#waiting.delete(sequence);
    this.#effects.push({ type: 'placed', sequence, targets: frame.stored });
  }

  #refused(attempt: Attempt, sequences: readonly number[], freeBytes: number): void {
    const target = this.#current(attempt);
    if (target === undefined) return;
    // This pod is asked for every frame anew: its answer costs nothing, and space may have come free.
    if (target !== this.#self) target.refused(freeBytes);
    this.#notTaken(target, sequences);
  }

  /** The target that this attempt still stands for. */
  #current({ target, session }: Attempt): Target | undefined {
    const found = this.#targets.get(target);
    return found?.open === true && found.session === session ? found : undefined;
  }

  #abandon(target: Target, now: number): void {
    const { incarnation } = target.member;
    const sequences = [...target.inFlight];
    this.#effects.push({ type: 'abandon', attempt: { target: incarnation, session: target.session }, sequences });
    this.#notTaken(target, sequences);
    target.failed(now, this.settings.random());
  }

  /** They want another place. */
  #notTaken(target: Target, sequences: readonly number[]): void {
    for (const sequence of sequences) {
      target.inFlight.delete(sequence);
      const frame = this.#waiting.get(sequence);
      if (frame === undefined) continue;
      frame.pending.delete(target.member.incarnation);
      frame.refusedHere ||= target === this.#self;
    }
  }

  #assignAll(now: number): void {
    for (const frame of this.#waiting.values()) {
      while (frame.stored.length + frame.pending.size < this.settings.copies) {
        const target = this.#choose(frame, now);
        if (target !== undefined) {
          this.#assign(frame, target, now);
          continue;
        }
        if (!this.#hopeless(frame, now)) break;
        this.#exhausted = true;
        this.#effects.push({ type: 'exhausted', sequence: frame.sequence });
        return;
      }
    }
  }

  #assign(frame: Waiting, target: Target, now: number): void {
    target.began(frame.sequence, frame.bytes, now);
    frame.pending.add(target.member.incarnation);
    const attempt = { target: target.member.incarnation, session: target.session };
    this.#effects.push({ type: 'store', attempt, member: target.member, sequence: frame.sequence });
  }

  #choose(frame: Waiting, now: number): Target | undefined {
    if (!frame.refusedHere && !this.#has(frame, this.#self)) return this.#self;
    return inTurn(
      this.#candidates(frame).filter(
        ({ suspendedUntil, inFlight }) => now >= suspendedUntil && inFlight.size < this.settings.window,
      ),
    );
  }

  /** Other members that may yet take it, now or later. */
  #candidates(frame: Waiting): Target[] {
    return [...this.#targets.values()].filter(
      (target) => target !== this.#self && target.present && !target.full && !this.#has(frame, target),
    );
  }

  #has(frame: Waiting, { member }: Target): boolean {
    return frame.pending.has(member.incarnation) || frame.stored.includes(member.incarnation);
  }

  /**
   * Whether waiting will not help one for which nobody can be chosen: nobody may take it, or only members that cannot
   * be reached for too long.
   */
  #hopeless(frame: Waiting, now: number): boolean {
    const candidates = this.#candidates(frame);
    if (candidates.some(({ suspendedUntil }) => now >= suspendedUntil)) {
      frame.stuckSince = undefined;
      return false;
    }
    frame.stuckSince ??= now;
    return candidates.length === 0 || now - frame.stuckSince >= this.settings.giveUpMs;
  }

  /** The next moment at which time alone changes something. */
  #wish(now: number): void {
    if (this.#waiting.size === 0) return;
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
 * Smooth weighted round robin: each gains credit in proportion to its free space, and who has the most is next
 * and pays for all. So the shares come out right, and no one is chosen many times in a row.
 * @see https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
 */
function inTurn(targets: readonly Target[]): Target | undefined {
  let chosen: Target | undefined;
  let total = 0;
  for (const target of targets) {
    // One that claims nothing is still a place of last resort: its word may be old.
    const weight = Math.max(1, target.freeBytes);
    target.credit += weight;
    total += weight;
    if (chosen === undefined || target.credit > chosen.credit) chosen = target;
  }
  if (chosen !== undefined) chosen.credit -= total;
  return chosen;
}
