import { longestElapsed, type Instant } from '../../common/clock.js';

export type HeldPermitsInput =
  /** Permits are requested under that id. */
  | { readonly type: 'begin'; readonly id: string; readonly name: string }
  /** The leader granted them. Without renewal they last for `permitMs`. */
  | { readonly type: 'granted'; readonly id: string; readonly permitMs: number }
  /** The permits are released, or the caller has stopped waiting. */
  | { readonly type: 'end'; readonly id: string }
  /** That renewal was acknowledged; the leader does not know these ids. */
  | { readonly type: 'renewed'; readonly renewal: number; readonly unknown: readonly string[] }
  /** The time of a `wake` effect has come; with `id`, a caller checks whether that permit is valid. */
  | { readonly type: 'tick'; readonly id?: string };

export type HeldPermitsEffect =
  /** Renew these held and requested permits at the leader, and feed back `renewed` when it answers. */
  | { readonly type: 'renew'; readonly renewal: number; readonly ids: ReadonlyMap<string, readonly string[]> }
  /** The permits are granted and valid. */
  | { readonly type: 'usable'; readonly id: string }
  /** The permits are no longer valid: they were not renewed in time, or the leader revoked them. */
  | { readonly type: 'lost'; readonly id: string; readonly why: PermitLoss }
  /** Send a `tick` after that time. Replaces any earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number };

export type PermitLoss = 'expired' | 'revoked';

export interface HeldPermitsTiming {
  readonly permitMs: number;
  readonly marginMs: number;
  readonly heartbeatMs: number;
}

interface TrackedPermit {
  readonly id: string;
  readonly name: string;
  state: 'waiting' | 'granted' | 'usable';
  /** When the last acknowledged message that named the permit was sent. The leader counts from a later instant. */
  confirmedAt: Instant;
  validMs: number;
}

/**
 * The permits that this process holds or waits for, and which of them are valid. Pure: `step` receives an input and the
 * time, and returns the effects to perform.
 *
 * S1 rests on this rule: a permit is valid while less than its time, minus a margin, has passed since the *sending* of
 * the last message that named it and that a leader acknowledged, by the clock that advanced further. The leader counts
 * the whole time, from the receipt of that message or later. A lost permit stays lost.
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

  /** Whether the permit is valid at that time. To make a loss final, send a `tick` with the id first. */
  holds(id: string, now: Instant): boolean {
    const permit = this.#permits.get(id);
    return permit?.state === 'usable' && longestElapsed(permit.confirmedAt, now) < permit.validMs;
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
    const permit = this.#permits.get(id);
    if (permit?.state !== 'waiting') return;
    const { timing } = this;
    permit.state = 'granted';
    // Pods may have different options: the shorter time is safe.
    permit.validMs = Math.min(permitMs, timing.permitMs) - timing.marginMs;
    this.#useIfFresh(permit, now);
    // It has waited for long, and its last renewals were not acknowledged.
    if (permit.state === 'granted') this.#renew(now);
  }

  protected renewed(renewal: number, unknown: readonly string[], now: Instant): void {
    const sent = this.#renewals.get(renewal);
    if (sent === undefined) return;
    this.#renewals.delete(renewal);
    const gone = new Set(unknown);
    for (const id of sent.ids) {
      const permit = this.#permits.get(id);
      if (permit === undefined || this.#expire(permit, now)) continue;
      if (!gone.has(id)) {
        this.confirm(permit, sent.sentAt);
        this.#useIfFresh(permit, now);
      } else if (permit.state !== 'waiting') {
        this.#lose(permit, 'revoked');
      }
    }
  }

  /** Acknowledgements may arrive out of order. */
  protected confirm(permit: { confirmedAt: Instant }, sentAt: Instant): void {
    if (sentAt.mono > permit.confirmedAt.mono) permit.confirmedAt = sentAt;
  }

  /** Uses a permit only if at least half of its time is left, so that it is renewed before its end. */
  #useIfFresh(permit: TrackedPermit, now: Instant): void {
    if (permit.state !== 'granted' || longestElapsed(permit.confirmedAt, now) >= permit.validMs / 2) return;
    permit.state = 'usable';
    this.#effects.push({ type: 'usable', id: permit.id });
  }

  /** @returns whether the permit has just expired. */
  #expire(permit: TrackedPermit, now: Instant): boolean {
    if (permit.state !== 'usable' || this.holds(permit.id, now)) return false;
    this.#lose(permit, 'expired');
    return true;
  }

  #lose({ id }: TrackedPermit, why: PermitLoss): void {
    this.#permits.delete(id);
    this.#effects.push({ type: 'lost', id, why });
  }

  #tick(now: Instant): void {
    this.#wakeAt = undefined;
    for (const permit of this.#permits.values()) this.#expire(permit, now);
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
    // The answer to such an old renewal can confirm no permit that is still valid.
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
