import { beforeEach, describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { LeaseRenewer, type RenewerEffect, type RenewerInput } from './lease-renewer.core.js';
import { Liveness } from './liveness.js';
import { SharedTerm } from './shared-term.js';

const timing = { leaseMs: 3_000, marginMs: 300, retryMs: 100 };

const types = (effects: readonly RenewerEffect[]): string[] => effects.map(({ type }) => type);

describe('LeaseRenewer', () => {
  let clock: VirtualClock;
  let renewer: LeaseRenewer;
  let turnedAt: number;

  const step = (input: RenewerInput): readonly RenewerEffect[] => renewer.step(input, clock.now(), turnedAt);
  const tick = (ms: number): readonly RenewerEffect[] => {
    clock.advance(ms);
    return step({ type: 'tick' });
  };
  const hold = (id: number, batched = false, lastRenewal = 0): readonly RenewerEffect[] =>
    step({ type: 'hold', term: { id, validSince: clock.now(), lastRenewal, batched } });

  beforeEach(() => {
    clock = new VirtualClock();
    renewer = new LeaseRenewer({ timing, maxStallMs: 6_000, random: () => 0 });
    turnedAt = clock.now().mono;
  });

  it('renews a third of the lease after the start of the last renewal, with a higher number each time', () => {
    expect(hold(1, false, 4)).toEqual([{ type: 'wake', afterMs: 1_000 }]);
    const sentAt = { ...clock.now(), mono: clock.now().mono + 1_000, wall: clock.now().wall + 1_000 };
    expect(tick(1_000)).toEqual([{ type: 'renew', call: 1, renewals: [{ id: 1, renewal: 5 }], batched: false }]);
    clock.advance(200);
    expect(step({ type: 'answered', call: 1, results: [{ renewed: true }] })).toEqual([
      { type: 'renewed', id: 1, renewal: 5, validSince: sentAt },
      { type: 'wake', afterMs: 800 },
    ]);
    expect(tick(800)).toMatchObject([{ type: 'renew', renewals: [{ renewal: 6 }] }]);
  });

  it('renews locks together, and the election alone', () => {
    for (const id of [1, 2]) hold(id, true);
    hold(3);
    const renewals = tick(1_000).filter((effect) => effect.type === 'renew');
    expect(renewals.map((effect) => effect.renewals.map(({ id }) => id))).toEqual([[3], [1, 2]]);
  });

  it('L3: revives no term that has expired before the answer', () => {
    hold(1);
    tick(1_000);
    clock.advance(1_700);
    expect(step({ type: 'answered', call: 1, results: [{ renewed: true }] })).toEqual([]);
    expect(tick(10_000)).toEqual([]);
  });

  it('tries a failed renewal again until the term expires', () => {
    hold(1);
    tick(1_000);
    expect(step({ type: 'answered', call: 1, results: [undefined] })).toEqual([{ type: 'wake', afterMs: 50 }]);
    expect(types(tick(50))).toEqual(['renew']);
    clock.advance(1_650);
    expect(step({ type: 'answered', call: 2, results: [undefined] })).toEqual([]);
  });

  it('renews nothing when the event loop has not turned for maxStallMs, and goes on when it turns', () => {
    hold(1);
    turnedAt -= 5_000;
    expect(tick(1_000)).toEqual([{ type: 'wake', afterMs: 100 }]);
    turnedAt = clock.now().mono;
    expect(types(tick(100))).toEqual(['renew']);
  });

  it('forgets a term that was dropped or superseded', () => {
    hold(1);
    hold(2);
    tick(1_000);
    expect(step({ type: 'drop', id: 1 })).toEqual([]);
    expect(step({ type: 'answered', call: 1, results: [{ renewed: true }] })).toEqual([]);
    const superseded = { renewed: false, record: { token: 9n, expiresInMs: 0 } } as const;
    expect(step({ type: 'answered', call: 2, results: [superseded] })).toEqual([{ type: 'superseded', id: 2 }]);
    expect(tick(10_000)).toEqual([]);
  });
});

describe('the memory that threads share', () => {
  it('shows the last acknowledged renewal, the last number sent, and the end of the term', () => {
    const main = new SharedTerm();
    const thread = new SharedTerm(main.memory);
    expect([main.renewed(), main.lastSent]).toEqual([undefined, 0]);
    for (const renewal of [1, 2, 3]) {
      thread.sending(renewal);
      thread.acknowledged(renewal, { mono: renewal + 0.5, wall: renewal * 1_000 });
      expect(main.renewed()).toEqual({
        renewals: BigInt(renewal),
        validSince: { mono: renewal + 0.5, wall: renewal * 1_000 },
      });
    }
    expect([main.lastSent, thread.dropped]).toEqual([3, false]);
    main.drop();
    thread.supersede();
    expect([main.renewed(), thread.dropped]).toEqual(['superseded', true]);
  });

  it('shows when the event loop of the main thread last turned', () => {
    const main = new Liveness();
    main.turned(1_234_567.25);
    expect(new Liveness(main.memory).turnedAt).toBe(1_234_567.25);
  });
});
