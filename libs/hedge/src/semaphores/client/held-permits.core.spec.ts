import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { HeldPermits, type HeldPermitsEffect, type HeldPermitsInput } from './held-permits.core.js';

const timing = { permitMs: 1_000, marginMs: 100, heartbeatMs: 100 };

/** A client whose renewals wait until the test answers them. */
class Holder {
  readonly clock = new VirtualClock();
  readonly permits = new HeldPermits(timing);
  readonly events: string[] = [];
  readonly renewals: { renewal: number; ids: string[] }[] = [];
  #cancelWake: () => void = () => undefined;

  step(input: HeldPermitsInput): void {
    for (const effect of this.permits.step(input, this.clock.now())) this.#perform(effect);
  }

  begin(id: string): void {
    this.step({ type: 'begin', id, name: 's' });
  }

  grant(id: string, permitMs = 1_000): void {
    this.step({ type: 'granted', id, permitMs });
  }

  /** Answers the last renewal. */
  renewed(...unknown: string[]): void {
    this.step({ type: 'renewed', renewal: this.renewals.at(-1)?.renewal ?? 0, unknown });
  }

  valid(id: string): boolean {
    this.step({ type: 'tick', id });
    return this.permits.holds(id, this.clock.now());
  }

  #perform(effect: HeldPermitsEffect): void {
    if (effect.type === 'wake') {
      this.#cancelWake();
      this.#cancelWake = this.clock.after(effect.afterMs, () => this.step({ type: 'tick' }));
    } else if (effect.type === 'renew') {
      this.renewals.push({ renewal: effect.renewal, ids: [...effect.ids.values()].flat() });
    } else {
      this.events.push(effect.type === 'lost' ? `${effect.id} ${effect.why}` : `${effect.id} ${effect.type}`);
    }
  }
}

function holding(id = 'a'): Holder {
  const holder = new Holder();
  holder.begin(id);
  holder.grant(id);
  return holder;
}

describe('HeldPermits: permits', () => {
  it('S1: are valid for their time minus the margin, counted from the request', () => {
    const holder = new Holder();
    holder.begin('a');
    holder.clock.advance(300);
    holder.grant('a');
    holder.clock.advance(599);
    expect(holder.valid('a')).toBe(true);
    holder.clock.advance(1);
    expect([holder.valid('a'), holder.events]).toEqual([false, ['a usable', 'a expired']]);
  });

  it('S1: count a renewal from its sending, also when the answer is late', () => {
    const holder = holding();
    holder.clock.advance(100);
    expect(holder.renewals).toEqual([{ renewal: 1, ids: ['a'] }]);
    holder.clock.advance(750);
    holder.step({ type: 'renewed', renewal: 1, unknown: [] });
    holder.clock.advance(149);
    expect(holder.valid('a')).toBe(true);
    holder.clock.advance(1);
    expect(holder.valid('a')).toBe(false);
  });

  it('S1: are not revived by a late answer', () => {
    const holder = holding();
    holder.clock.advance(900);
    holder.step({ type: 'renewed', renewal: 8, unknown: [] });
    expect([holder.valid('a'), holder.events]).toEqual([false, ['a usable', 'a expired']]);
  });

  it('S1: expire by the wall clock when the machine slept, and stay expired when it is set back', () => {
    const holder = holding();
    holder.clock.jumpWall(900);
    expect(holder.valid('a')).toBe(false);
    holder.clock.jumpWall(-900);
    expect(holder.valid('a')).toBe(false);
  });

  it('S1: never last longer than the options of this pod or of the leader allow', () => {
    const [longer, shorter] = [new Holder(), new Holder()];
    for (const [holder, permitMs] of [
      [longer, 5_000],
      [shorter, 500],
    ] as const) {
      holder.begin('a');
      holder.grant('a', permitMs);
      holder.clock.advance(400);
    }
    expect([longer.valid('a'), shorter.valid('a')]).toEqual([true, false]);
    longer.clock.advance(500);
    expect(longer.valid('a')).toBe(false);
  });

  it('last as long as renewals are acknowledged', () => {
    const holder = holding();
    for (let beat = 0; beat < 50; beat += 1) {
      holder.clock.advance(100);
      holder.renewed();
    }
    expect([holder.valid('a'), holder.events]).toEqual([true, ['a usable']]);
  });

  it('are lost when the leader does not know them, while waiting requests stay', () => {
    const holder = holding();
    holder.begin('b');
    holder.clock.advance(100);
    holder.renewed('a', 'b');
    expect([holder.valid('a'), holder.events, holder.permits.size]).toEqual([false, ['a usable', 'a revoked'], 1]);
  });

  it('are reported as lost at their end without a call of isValid()', () => {
    const holder = holding();
    holder.clock.advance(900);
    expect(holder.events).toEqual(['a usable', 'a expired']);
  });

  it('are renewed before use when they were granted after a long wait without answers', () => {
    const holder = new Holder();
    holder.begin('a');
    holder.clock.advance(650);
    holder.grant('a');
    expect([holder.events, holder.renewals.length]).toEqual([[], 7]);
    holder.renewed();
    expect([holder.events, holder.valid('a')]).toEqual([['a usable'], true]);
  });

  it('are renewed while they wait, so that they are fresh when granted', () => {
    const holder = new Holder();
    holder.begin('a');
    for (let beat = 0; beat < 30; beat += 1) {
      holder.clock.advance(100);
      holder.renewed();
    }
    holder.grant('a');
    expect(holder.events).toEqual(['a usable']);
  });

  it('need no renewal when they are held briefly, and no timer when there are none', () => {
    const holder = holding();
    holder.clock.advance(99);
    holder.step({ type: 'end', id: 'a' });
    holder.clock.advance(5_000);
    expect([holder.renewals, holder.clock.nextTimerMs()]).toEqual([[], undefined]);
  });
});
