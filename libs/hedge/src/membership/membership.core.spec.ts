import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../common/identity.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { Membership, type MembershipEffect, type MembershipInput } from './membership.core.js';
import type { View } from './view.js';

const timing = { leaseMs: 3_000, heartbeatMs: 500, heartbeatTimeoutMs: 2_000, retryMs: 100 };
const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ address: `${name}:1`, incarnation: `${name}1` })) as [
  MemberId,
  MemberId,
  MemberId,
];
const client: MemberId = { address: '', incarnation: 'client' };

function viewOf(leader: MemberId, epoch: bigint, version: number, members: MemberId[] = [leader]): View {
  const confirmed = members.map((member) => ({ ...member, confirmed: true }));
  return { epoch, version, settled: true, leader, members: confirmed };
}

describe('Membership', () => {
  let clock: VirtualClock;
  let membership: Membership;
  let last: readonly MembershipEffect[];

  const step = (input: MembershipInput): readonly MembershipEffect[] => (last = membership.step(input, clock.now()));
  const make = (self: MemberId): void => {
    membership = new Membership({ self, timing, random: () => 0.5 });
  };
  const lead = (epoch: bigint): readonly MembershipEffect[] => step({ type: 'leader', leader: { member: a, epoch } });
  const follow = (member: MemberId, epoch: bigint): readonly MembershipEffect[] =>
    step({ type: 'leader', leader: { member, epoch } });
  const beat = (from: MemberId): readonly MembershipEffect[] =>
    step({ type: 'heartbeat', from, epoch: membership.view?.epoch ?? 0n, version: membership.view?.version ?? 0 });
  const heartbeat = (from: MemberId, version: number): void => {
    step({ type: 'heartbeat', from, epoch: version === 0 ? 0n : 1n, version, acceptsChanges: true, edition: 0 });
  };
  /** A leader publishes at most five views in one heartbeat interval. */
  const publish = (): readonly MembershipEffect[] => {
    clock.advance(timing.heartbeatMs / 5);
    return step({ type: 'tick' });
  };
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += timing.heartbeatMs) {
      clock.advance(Math.min(timing.heartbeatMs, ms - passed));
      step({ type: 'tick' });
    }
  };
  const expectNoResignation = (by: MemberId, epoch: bigint, stamp: string): void => {
    step({
      type: 'reports-read',
      stamp,
      report: { epoch, by, reached: [a, b].map((m) => m.incarnation) },
      dialled: true,
    });
    pass(2_000);
    expect(last.map(({ type }) => type)).not.toContain('resign');
  };
  const addresses = (): string[] | undefined => membership.view?.members.map(({ address }) => address);
  const sentTo = (type: MembershipEffect['type']): string[] =>
    last.flatMap((effect) => (effect.type === type && 'to' in effect ? [effect.to.incarnation] : []));
  beforeEach(() => {
    clock = new VirtualClock();
    make(a);
  });

  describe('as leader', () => {
    it('admits a member that sends a heartbeat, and pushes the view to all', () => {
      lead(1n);
      beat(b);
      beat(c);
      publish();
      expect(addresses()).toEqual(['a:1', 'b:1', 'c:1']);
      expect(sentTo('send-view')).toEqual(['b1', 'c1']);
    });

    it('publishes the changes of one moment as one version', () => {
      lead(1n);
      publish();
      beat(b);
      const { version } = membership.view ?? { version: 0 };
      expect(addresses()).toEqual(['a:1', 'b:1']);
      beat(c);
      step({ type: 'leave', from: b });
      expect(addresses()).toEqual(['a:1', 'b:1']);
      clock.advance(timing.heartbeatMs / 5 - 1);
      step({ type: 'tick' });
      expect(membership.view?.version).toBe(version);
      clock.advance(1);
      step({ type: 'tick' });
      expect(addresses()).toEqual(['a:1', 'c:1']);
    });

    it('sends only the changes to a member that accepts them and has an earlier version of the term', () => {
      lead(1n);
      heartbeat(b, 0);
      publish();
      expect(sentTo('send-view')).toEqual(['b1']);
      const base = membership.view?.version ?? 0;
      heartbeat(b, base);
      heartbeat(c, 0);
      publish();
      expect(sentTo('send-view')).toEqual(['c1']);
      const changed = [{ ...c, confirmed: true }];
      const version = membership.view?.version ?? 0;
      const changes = { epoch: 1n, version, base, settled: false, changed, removed: [] };
      expect(last).toContainEqual(expect.objectContaining({ type: 'send-changes', to: b, changes }));
    });

    it('answers each heartbeat', () => {
      lead(1n);
      beat(b);
      expect(sentTo('answer-heartbeat')).toEqual(['b1']);
      beat(b);
      expect(sentTo('answer-heartbeat')).toEqual(['b1']);
    });

    it('does not resign after a report that is old, of another term, or of a member that it hears', () => {
      lead(2n);
      expectNoResignation(c, 2n, 'first');
      expectNoResignation(c, 1n, 'second');
      beat(c);
      expectNoResignation(c, 2n, 'third');
    });

    it('resigns after a report of a member that reaches more, and again only after another has led', () => {
      const resigns = (): boolean => {
        step({ type: 'reports-read', stamp: '', dialled: false });
        const report = { epoch: membership.view?.epoch ?? 0n, by: c, reached: [b.incarnation] };
        step({ type: 'reports-read', stamp: 'new', report, dialled: false });
        const seen: string[] = [];
        for (let beats = 0; beats < 4; beats += 1) {
          pass(500);
          seen.push(...last.map(({ type }) => type));
        }
        return seen.includes('resign');
      };
      lead(1n);
      expect(resigns()).toBe(true);
      step({ type: 'leader' });
      lead(2n);
      expect(resigns()).toBe(false);
      follow(b, 3n);
      lead(4n);
      expect(resigns()).toBe(true);
    });

    it('M1: only a change has a higher version', () => {
      lead(1n);
      beat(b);
      publish();
      const { version } = membership.view ?? { version: 0 };
      beat(b);
      publish();
      expect(membership.view?.version).toBe(version);
      step({ type: 'leave', from: b });
      publish();
      expect(membership.view?.version).toBe(version + 1);
    });

    it('M1: the same election reported twice does not reset the versions', () => {
      lead(1n);
      beat(b);
      const before = membership.view;
      lead(1n);
      expect(membership.view).toBe(before);
    });

    it('sends the view again to a member whose heartbeat names an older one', () => {
      lead(1n);
      beat(b);
      publish();
      step({ type: 'heartbeat', from: b, epoch: 1n, version: 1 });
      expect(sentTo('send-view')).toEqual(['b1']);
      beat(b);
      expect(sentTo('send-view')).toEqual([]);
    });

    it('drops a member that is not heard for the heartbeat timeout', () => {
      lead(1n);
      beat(b);
      pass(1_500);
      expect(addresses()).toEqual(['a:1', 'b:1']);
      pass(500);
      expect(addresses()).toEqual(['a:1']);
    });

    it('admits a member again that was dropped, but not one that left', () => {
      lead(1n);
      beat(b);
      pass(2_500);
      beat(b);
      step({ type: 'leave', from: b });
      beat(b);
      publish();
      expect(addresses()).toEqual(['a:1']);
    });

    it('does not drop members after a stall of its own', () => {
      lead(1n);
      beat(b);
      clock.advance(10_000);
      step({ type: 'tick' });
      expect(addresses()).toEqual(['a:1', 'b:1']);
      pass(1_500);
      expect(addresses()).toEqual(['a:1']);
    });

    it('replaces an incarnation by a newer one at its address, and ignores late heartbeats of the older one', () => {
      lead(1n);
      beat(b);
      beat({ address: b.address, incarnation: 'b2' });
      beat(b);
      publish();
      expect(membership.view?.members.map(({ incarnation }) => incarnation)).toEqual(['a1', 'b2']);
    });

    it('lets a late heartbeat of a dead process displace the live one at its address only for a while', () => {
      lead(1n);
      beat({ address: b.address, incarnation: 'b2' });
      beat(b);
      for (let times = 0; times < 6; times += 1) {
        pass(500);
        beat({ address: b.address, incarnation: 'b2' });
      }
      expect(membership.view?.members.map(({ incarnation }) => incarnation)).toEqual(['a1', 'b2']);
    });

    it('sends views to clients without listing them', () => {
      lead(1n);
      step({ type: 'heartbeat', from: client, epoch: 0n, version: 0 });
      expect(sentTo('send-view')).toEqual(['client']);
      beat(b);
      publish();
      expect(sentTo('send-view')).toEqual(['b1', 'client']);
      expect(addresses()).toEqual(['a:1', 'b:1']);
    });

    it('has the lease read when a heartbeat names a later term', () => {
      lead(1n);
      step({ type: 'heartbeat', from: b, epoch: 2n, version: 1 });
      expect(last.map(({ type }) => type)).toContain('confirm-leader');
    });

    it('settles after the heartbeat timeout when it has no view to start from', () => {
      lead(1n);
      beat(b);
      pass(1_999);
      beat(b);
      expect(membership.settled).toBe(false);
      pass(500);
      expect(membership.settled).toBe(true);
    });

    it('starts from the last view with its members unconfirmed, and settles once all are heard', () => {
      follow(c, 1n);
      step({ type: 'view', from: c, view: viewOf(c, 1n, 5, [a, b, c]) });
      lead(2n);
      expect(sentTo('send-view')).toEqual(['b1', 'c1']);
      expect(membership.view?.members.map(({ confirmed }) => confirmed)).toEqual([true, false, false]);
      expect(membership.settled).toBe(false);
      beat(b);
      beat(c);
      publish();
      expect(membership.settled).toBe(true);
    });

    it('starts without members that have left, and settles without members that stay silent', () => {
      follow(c, 1n);
      step({ type: 'view', from: c, view: viewOf(c, 1n, 5, [a, b, c]) });
      step({ type: 'leave', from: c });
      lead(2n);
      expect(addresses()).toEqual(['a:1', 'b:1']);
      pass(2_000);
      expect(addresses()).toEqual(['a:1']);
      expect(membership.settled).toBe(true);
    });

    it('accepts no view while it leads', () => {
      lead(2n);
      step({ type: 'view', from: b, view: viewOf(b, 3n, 1) });
      expect(membership.view?.leader).toEqual(a);
    });
  });

  describe('as follower', () => {
    beforeEach(() => {
      make(b);
      follow(a, 5n);
    });

    it('sends a heartbeat at once and then regularly, with the view it has', () => {
      expect(sentTo('send-heartbeat')).toEqual(['a1']);
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3) });
      clock.advance(500);
      expect(step({ type: 'tick' })).toContainEqual({
        type: 'send-heartbeat',
        to: a,
        epoch: 5n,
        version: 3,
        edition: 0,
      });
    });

    it('is settled only while the leader answers', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3, [a, b]), answers: true });
      pass(1_500);
      step({ type: 'heartbeat', from: a, epoch: 5n, version: 3 });
      pass(1_500);
      expect(membership.settled).toBe(true);
      pass(500);
      expect(membership.settled).toBe(false);
      expect(last).toContainEqual({ type: 'contact-lost', leader: a });
      step({ type: 'heartbeat', from: a, epoch: 5n, version: 3 });
      expect(membership.settled).toBe(true);
      expect(last).toContainEqual({ type: 'contact-restored' });
    });

    it('is settled also while a leader of an earlier version is silent, because it never answers heartbeats', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3, [a, b]) });
      pass(10_000);
      expect(membership.settled).toBe(true);
    });

    it('does not lose contact with the leader after a stall of its own', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3, [a, b]), answers: true });
      clock.advance(10_000);
      step({ type: 'tick' });
      expect(membership.settled).toBe(true);
      pass(1_000);
      expect(membership.settled).toBe(false);
    });

    it('reports a leader that does not answer, and then reads the lease with every heartbeat', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3, [a, b, c]), answers: true });
      // It may have died: its lease ends after 3 s, and another member leads soon after.
      for (let beats = 0; beats < 7; beats += 1) {
        pass(500);
        expect(last).not.toContainEqual(expect.objectContaining({ type: 'report-unreachable' }));
      }
      pass(500);
      expect(last).toContainEqual({ type: 'report-unreachable', epoch: 5n, others: [c] });
      step({ type: 'reported', epoch: 5n });
      pass(500);
      expect(last).toContainEqual({ type: 'confirm-leader' });
    });

    it('writes no report as a client, because it could not lead', () => {
      make(client);
      follow(a, 5n);
      const seen: string[] = [];
      for (let beats = 0; beats < 20; beats += 1) {
        pass(500);
        seen.push(...last.map(({ type }) => type));
      }
      expect(seen).toContain('contact-lost');
      expect(seen).not.toContain('report-unreachable');
    });

    it('keeps sending heartbeats to the last leader while it knows of no leader', () => {
      step({ type: 'leader' });
      clock.advance(500);
      step({ type: 'tick' });
      expect(sentTo('send-heartbeat')).toEqual(['a1']);
      expect(membership.settled).toBe(false);
    });

    it('sends a heartbeat again soon after the leader was unreachable, then with growing pauses', () => {
      step({ type: 'unreachable', member: a });
      expect(last).toEqual([{ type: 'wake', afterMs: 75 }]);
      step({ type: 'unreachable', member: a });
      expect(last).toEqual([{ type: 'wake', afterMs: 150 }]);
      step({ type: 'unreachable', member: c });
      expect(last).toEqual([{ type: 'wake', afterMs: 150 }]);
    });

    it('M1: applies changes to the view that it has, and reports its version at once when it lacks their base', () => {
      const changes = (base: number, version: number, removed: string[] = []): MembershipInput => {
        const members = [{ ...c, confirmed: true }];
        const capacity = { spaces: new Map(), edition: 0, base: 0 };
        const changed = removed.length > 0 ? [] : members;
        return {
          type: 'view-changes',
          from: a,
          changes: { epoch: 5n, version, base, settled: true, changed, removed },
          capacity,
        };
      };
      make(b);
      follow(a, 5n);
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3, [a, b]) });
      step(changes(3, 4));
      expect(membership.view).toMatchObject({ version: 4, members: [a, b, c] });
      expect(sentTo('send-heartbeat')).toEqual([]);
      step(changes(5, 6));
      expect(membership.view?.version).toBe(4);
      expect(last).toContainEqual(expect.objectContaining({ type: 'send-heartbeat', epoch: 5n, version: 4 }));
      step(changes(2, 5, [c.incarnation]));
      expect(membership.view).toMatchObject({ version: 5, members: [a, b] });
      step(changes(3, 4));
      expect(membership.view).toMatchObject({ version: 5, members: [a, b] });
    });

    it('M1: accepts later views of its leader, and none that is older or equal', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 2, [a, b]) });
      for (const version of [1, 2]) step({ type: 'view', from: a, view: viewOf(a, 5n, version) });
      expect(membership.view?.version).toBe(2);
      expect(addresses()).toEqual(['a:1', 'b:1']);
      step({ type: 'view', from: a, view: viewOf(a, 5n, 3) });
      expect(membership.view?.version).toBe(3);
    });

    it('M1: accepts no view of an older term', () => {
      step({ type: 'view', from: c, view: viewOf(c, 4n, 9) });
      expect(membership.view).toBeUndefined();
    });

    it('M1: accepts a view of a later term only when the lease confirms it', () => {
      step({ type: 'view', from: c, view: viewOf(c, 6n, 1, [b, c]) });
      expect(membership.view).toBeUndefined();
      expect(last.map(({ type }) => type)).toContain('confirm-leader');
      follow(c, 6n);
      expect(addresses()).toEqual(['b:1', 'c:1']);
    });

    it('M1: drops a view of a later term that the lease contradicts', () => {
      step({ type: 'view', from: c, view: viewOf(c, 7n, 1) });
      follow(a, 8n);
      expect(membership.view).toBeUndefined();
      follow(c, 9n);
      expect(membership.view).toBeUndefined();
    });

    it('M1: accepts no view from a member other than its leader', () => {
      step({ type: 'view', from: c, view: viewOf(a, 5n, 1) });
      step({ type: 'view', from: c, view: viewOf(c, 5n, 1) });
      expect(membership.view).toBeUndefined();
    });

    it('is settled only with a settled view of the present leader', () => {
      step({ type: 'view', from: a, view: viewOf(a, 5n, 1) });
      expect(membership.settled).toBe(true);
      follow(c, 6n);
      expect(membership.settled).toBe(false);
    });
  });
});
