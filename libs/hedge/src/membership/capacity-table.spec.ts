import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../common/identity.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { Membership, type MembershipEffect, type MembershipInput } from './membership.core.js';

const timing = { leaseMs: 3_000, heartbeatMs: 500, heartbeatTimeoutMs: 2_000, retryMs: 100 };
const member = (name: string): MemberId => ({ address: `${name}:1`, incarnation: `${name}1` });
const [a, b, c] = [member('a'), member('b'), member('c')];
const space = { memory: 5, disk: 7 };

describe('the capacity of members', () => {
  let leader: Membership;
  let follower: Membership;
  const clock = new VirtualClock();
  const lead = (input: MembershipInput): readonly MembershipEffect[] => leader.step(input, clock.now());
  /** Delivers the updates of the leader to `b`. @returns the types of the updates. */
  const deliver = (effects: readonly MembershipEffect[]): string[] =>
    effects.flatMap((effect) => {
      if ((effect.type !== 'send-view' && effect.type !== 'send-changes') || effect.to !== b) return [];
      if (effect.type === 'send-view') follower.step({ ...effect, type: 'view', from: a }, clock.now());
      else follower.step({ ...effect, type: 'view-changes', from: a }, clock.now());
      return [effect.type];
    });
  /** A heartbeat of `b` after its state, or of `c`, which has all. */
  const beat = (from: MemberId, has?: typeof space): readonly MembershipEffect[] => {
    if (from === b) {
      clock.advance(timing.heartbeatMs);
      const sent = follower.step({ type: 'tick' }, clock.now()).find(({ type }) => type === 'send-heartbeat');
      if (sent?.type !== 'send-heartbeat') throw new Error('no heartbeat');
      return lead({ ...sent, type: 'heartbeat', from, acceptsChanges: true });
    }
    const { epoch, version } = leader.view ?? { epoch: 0n, version: 0 };
    return lead({ type: 'heartbeat', from, epoch, version, space: has, acceptsChanges: true, edition: 1_000 });
  };
  const publish = (): readonly MembershipEffect[] => {
    clock.advance(timing.heartbeatMs / 5);
    return lead({ type: 'tick' });
  };

  beforeEach(() => {
    leader = new Membership({ self: a, timing, random: () => 0.5 });
    follower = new Membership({ self: b, timing, random: () => 0.5 });
    const term = { type: 'leader', leader: { member: a, epoch: 1n } } as const;
    lead(term);
    follower.step(term, clock.now());
    for (const effects of [beat(b), beat(c), publish()]) deliver(effects);
  });

  it('M1: reaches all members within the view, without a new version, and only after a change', () => {
    const { view } = follower;
    expect(deliver(beat(c, space))).toEqual([]);
    expect(deliver(beat(b))).toEqual(['send-changes']);
    expect(follower.spaces.get(c.incarnation)).toEqual(space);
    expect(follower.view).toBe(view);
    beat(c, space);
    expect(deliver(beat(b))).toEqual([]);
  });

  it('is sent again after a loss, and only what has changed', () => {
    beat(c, space);
    const lost = beat(b).find(({ type }) => type === 'send-changes');
    expect(lost).toMatchObject({ capacity: { spaces: new Map([[c.incarnation, space]]) } });
    leader.step({ type: 'space', space: { memory: 1, disk: 1 } }, clock.now());
    const repeated = beat(b);
    expect(deliver(repeated)).toEqual(['send-changes']);
    expect(follower.spaces.get(c.incarnation)).toEqual(space);
    expect(follower.spaces.get(a.incarnation)).toEqual({ memory: 1, disk: 1 });
    leader.step({ type: 'space', space: { memory: 2, disk: 1 } }, clock.now());
    const [update] = beat(b).filter(({ type }) => type === 'send-changes');
    expect(update).toMatchObject({ capacity: { spaces: new Map([[a.incarnation, { memory: 2, disk: 1 }]]) } });
  });

  it('is sent again after a loss, also if a later change has arrived before the next heartbeat', () => {
    beat(c, space);
    beat(b); // The update is lost.
    lead({ type: 'space', space: { memory: 1, disk: 1 } });
    expect(deliver(beat({ address: 'd:1', incarnation: 'd1' }))).toEqual(['send-changes']);
    expect(follower.spaces.get(a.incarnation)).toEqual({ memory: 1, disk: 1 });
    expect(follower.spaces.has(c.incarnation)).toBe(false);
    deliver(beat(b));
    expect(follower.spaces.get(c.incarnation)).toEqual(space);
  });

  it('is sent with the heartbeat, and a member trusts its own value more than that of the leader', () => {
    follower.step({ type: 'space', space }, clock.now());
    clock.advance(timing.heartbeatMs);
    const effects = follower.step({ type: 'tick' }, clock.now());
    expect(effects).toContainEqual(expect.objectContaining({ type: 'send-heartbeat', space }));
    lead({ type: 'heartbeat', from: b, epoch: 1n, version: 0, space: { memory: 1, disk: 1 } });
    deliver(beat(b));
    expect(follower.spaces.get(b.incarnation)).toEqual(space);
  });

  it('is forgotten with a member that left', () => {
    beat(c, space);
    lead({ type: 'leave', from: c });
    publish();
    expect(leader.spaces.has(c.incarnation)).toBe(false);
  });

  it('counts only from the leader whose view is accepted', () => {
    const capacity = { spaces: new Map([[c.incarnation, space]]), edition: 1, base: 0 };
    const view = leader.view;
    if (view === undefined) throw new Error('no view');
    follower.step({ type: 'view', from: c, view, capacity }, clock.now());
    follower.step({ type: 'view', from: a, view: { ...view, version: view.version - 1 }, capacity }, clock.now());
    expect(follower.spaces.has(c.incarnation)).toBe(false);
  });
});
