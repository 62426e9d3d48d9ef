import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../common/identity.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { Membership, type MembershipEffect, type MembershipInput } from './membership.core.js';

const timing = { heartbeatMs: 500, heartbeatTimeoutMs: 2_000, retryMs: 100 };
const member = (name: string): MemberId => ({ address: `${name}:1`, incarnation: `${name}1` });
const [a, b, c] = [member('a'), member('b'), member('c')];
const space = { memory: 5, disk: 7 };

describe('the capacity of members', () => {
  let leader: Membership;
  let follower: Membership;
  const clock = new VirtualClock();
  const lead = (input: MembershipInput): readonly MembershipEffect[] => leader.step(input, clock.now());
  /** Delivers the leader's view to `b`. @returns whether the leader sent one. */
  const deliver = (effects: readonly MembershipEffect[]): boolean => {
    const sent = effects.filter((effect) => effect.type === 'send-view' && effect.to.incarnation === b.incarnation);
    for (const effect of sent) {
      if (effect.type === 'send-view') follower.step({ ...effect, type: 'view', from: a }, clock.now());
    }
    return sent.length > 0;
  };
  const beat = (from: MemberId, has?: typeof space): readonly MembershipEffect[] =>
    lead({
      type: 'heartbeat',
      from,
      epoch: leader.view?.epoch ?? 0n,
      version: leader.view?.version ?? 0,
      space: has,
    });

  beforeEach(() => {
    leader = new Membership({ self: a, timing, random: () => 0.5 });
    follower = new Membership({ self: b, timing, random: () => 0.5 });
    const term = { type: 'leader', leader: { member: a, epoch: 1n } } as const;
    lead(term);
    follower.step(term, clock.now());
    deliver(beat(b));
    deliver(beat(c));
  });

  it('M1: reaches all members within the view, without a new version, and only after a change', () => {
    const { view } = follower;
    expect(deliver(beat(c, space))).toBe(false);
    expect(deliver(beat(b))).toBe(true);
    expect(follower.spaces.get(c.incarnation)).toEqual(space);
    expect(follower.view).toBe(view);
    beat(c, space);
    expect(deliver(beat(b))).toBe(false);
  });

  it('is sent with the heartbeat, and a member trusts its own value more than that of the leader', () => {
    follower.step({ type: 'space', space }, clock.now());
    clock.advance(timing.heartbeatMs);
    const effects = follower.step({ type: 'tick' }, clock.now());
    expect(effects).toContainEqual(expect.objectContaining({ type: 'send-heartbeat', space }));
    beat(c, space);
    deliver(beat(b, { memory: 1, disk: 1 }));
    expect(follower.spaces.get(b.incarnation)).toEqual(space);
  });

  it('is forgotten with a member that left', () => {
    beat(c, space);
    lead({ type: 'leave', from: c });
    expect(leader.spaces.has(c.incarnation)).toBe(false);
  });

  it('counts only from the leader whose view is accepted', () => {
    const spaces = new Map([[c.incarnation, space]]);
    const view = leader.view;
    if (view === undefined) throw new Error('no view');
    follower.step({ type: 'view', from: c, view, spaces }, clock.now());
    follower.step({ type: 'view', from: a, view: { ...view, version: view.version - 1 }, spaces }, clock.now());
    expect(follower.spaces.has(c.incarnation)).toBe(false);
  });
});
