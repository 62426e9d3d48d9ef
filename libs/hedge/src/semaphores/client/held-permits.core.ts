import { longestElapsed, type Instant } from '../../common/clock.js';

export type HeldPermitsInput =
  /** Permits are asked for under that id. */
  | { readonly type: 'begin'; readonly id: string; readonly name: string }
  /** The leader granted them; they last so long without renewal, in milliseconds. */
  | { readonly type: 'granted'; readonly id: string; readonly permitMs: number }
  /** Released, or not wanted any more. */
  | { readonly type: 'end'; readonly id: string }
  /** That renewal was acknowledged; the leader does not know these ids. */
  | { readonly type: 'renewed'; readonly renewal: number; readonly unknown: readonly string[] }
  /** The time of a `wake` effect has come, or somebody asks whether that one is valid. */
  | { readonly type: 'tick'; readonly id?: string };

export type HeldPermitsEffect =
  /** Tell the leader that these are held or waited for, and feed back `renewed` when it answers. */
  | { readonly type: 'renew'; readonly renewal: number; readonly ids: ReadonlyMap<string, readonly string[]> }
  /** They were granted, and are valid. */
  | { readonly type: 'usable'; readonly id: string }
  /** They are not valid any more: not renewed in time, or the leader has taken them back. */
  | { readonly type: 'lost'; readonly id: string; readonly why: 'expired' | 'taken back' }
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number };

export interface HeldPermitsTiming {
  readonly permitMs: number;
  readonly marginMs: number;
  readonly heartbeatMs: number;
}

interface TrackedPermit {
  readonly id: string;
  readonly name: string;
  state: 'waiting' | 'granted' | 'usable';
  /** When the last message was sent that named it and was acknowledged: the leader counts from later. */
  confirmedAt: Instant;
  validMs: number;
}

/**
 * The permits that this process holds or waits for, and which of them are valid. Pure: `step` takes an input and the
 * time, and returns what to do.
 *
 * S1 rests on this: a permit is valid while less than its time, less a margin, has passed since the *sending* of the
 * last message that named it and that a leader acknowledged, by whichever of both clocks ran further. The leader
 * counts the whole time, from when it received that message or later. What was lost stays lost.
 */
export class HeldPermits {
  readonly #permits = new Map<string, TrackedPermit>();
  readonly #renewals = new Map<number, { readonly sentAt: Instant; readonly ids: readonly string[] }>();
  #renewal = 0;
  #beatAt: number | undefined;
  #wakeAt: number | undefined;
  #effects: HeldPermitsEffect[] = [];

  constructor(private readonly timing: HeldPermitsTiming) {}

  get size(): number {
    return this.#permits.size;
  }

  /** Whether it is valid at that time. To make a no final, give a `tick` with the id first. */
  holds(id: string, now: Instant): boolean {
    const holding = this.#permits.get(id);
    return holding?.state === 'usable' && longestElapsed(holding.confirmedAt, now) < holding.validMs;
  }

  step(input: HeldPermitsInput, now: Instant): readonly HeldPermitsEffect[] {
    this.#effects = [];
    this.#handle(input, now);
    this.#schedule(now);
    return this.#effects;
  }

  #handle(input: HeldPermitsInput, now: Instant): void {
    switch (input.type) {
      case 'begin': {
        const { id, name } = input;
        this.#permits.set(id, { id, name, state: 'waiting', confirmedAt: now, validMs: 0 });
        return;
      }
      case 'granted':
        return this.#granted(input.id, input.permitMs, now);
      case 'end':
        this.#permits.delete(input.id);
        return;
      case 'renewed':
        return this.renewed(input.renewal, input.unknown, now);
      case 'tick': {
        const one = input.id === undefined ? undefined : this.#permits.get(input.id);
        if (one !== undefined) this.#expire(one, now);
        if (input.id === undefined) this.#tick(now);
      }
    }
  }

  #granted(id: string, permitMs: number, now: Instant): void {
    const holding = this.#permits.get(id);
    if (holding?.state !== 'waiting') return;
    const { timing } = this;
    holding.state = 'granted';
    // Pods may be configured differently: the shorter of both is safe.
    holding.validMs = Math.min(permitMs, timing.permitMs) - timing.marginMs;
    this.#useIfFresh(holding, now);
    // It waited for long, and the last renewals were not acknowledged.
    if (holding.state === 'granted') this.#renew(now);
  }

  protected renewed(renewal: number, unknown: readonly string[], now: Instant): void {
    const sent = this.#renewals.get(renewal);
    if (sent === undefined) return;
    this.#renewals.delete(renewal);
    const gone = new Set(unknown);
    for (const id of sent.ids) {
      const holding = this.#permits.get(id);
      if (holding === undefined || this.#expire(holding, now)) continue;
      if (!gone.has(id)) {
        this.confirm(holding, sent.sentAt);
        this.#useIfFresh(holding, now);
      } else if (holding.state !== 'waiting') {
        this.#lose(holding, 'taken back');
      }
    }
  }

  /** Acknowledgements may arrive in another order than they were sent. */
  protected confirm(holding: { confirmedAt: Instant }, sentAt: Instant): void {
    if (sentAt.mono > holding.confirmedAt.mono) holding.confirmedAt = sentAt;
  }

  /** Half of its time at least is left, so that the next renewals come before its end. */
  #useIfFresh(holding: TrackedPermit, now: Instant): void {
    if (holding.state !== 'granted' || longestElapsed(holding.confirmedAt, now) >= holding.validMs / 2) return;
    holding.state = 'usable';
    this.#effects.push({ type: 'usable', id: holding.id });
  }

  /** @returns whether it was valid and is not any more. */
  #expire(holding: TrackedPermit, now: Instant): boolean {
    if (holding.state !== 'usable' || this.holds(holding.id, now)) return false;
    this.#lose(holding, 'expired');
    return true;
  }

  #lose({ id }: TrackedPermit, why: 'expired' | 'taken back'): void {
    this.#permits.delete(id);
    this.#effects.push({ type: 'lost', id, why });
  }

  #tick(now: Instant): void {
    this.#wakeAt = undefined;
    for (const holding of this.#permits.values()) this.#expire(holding, now);
    if (this.#beatAt !== undefined && now.mono >= this.#beatAt) this.#renew(now);
  }

  #renew(now: Instant): void {
    this.#beatAt = now.mono + this.timing.heartbeatMs;
    if (this.#permits.size === 0) return;
    const ids = new Map<string, string[]>();
    for (const { id, name } of this.#permits.values()) {
      const same = ids.get(name);
      if (same === undefined) ids.set(name, [id]);
      else same.push(id);
    }
    this.#renewal += 1;
    this.#renewals.set(this.#renewal, { sentAt: now, ids: [...this.#permits.keys()] });
    // What is so old confirms nothing that is still valid.
    for (const [renewal, { sentAt }] of this.#renewals) {
      if (longestElapsed(sentAt, now) >= this.timing.permitMs) this.#renewals.delete(renewal);
    }
    this.#effects.push({ type: 'renew', renewal: this.#renewal, ids });
  }

  #schedule(now: Instant): void {
    if (this.#permits.size === 0) {
      this.#beatAt = undefined;
      return;
    }
    this.#beatAt ??= now.mono + this.timing.heartbeatMs;
    if (this.#wakeAt !== undefined) return;
    let afterMs = this.#beatAt - now.mono;
    for (const { state, confirmedAt, validMs } of this.#permits.values()) {
      if (state === 'usable') afterMs = Math.min(afterMs, validMs - longestElapsed(confirmedAt, now));
    }
    this.#wakeAt = now.mono + afterMs;
    this.#effects.push({ type: 'wake', afterMs: Math.max(0, afterMs) });
  }
}
