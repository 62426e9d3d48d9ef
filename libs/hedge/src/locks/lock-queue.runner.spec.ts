import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../common/identity.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import type { FrameBody, Link } from '../transport/transport.js';
import { LockQueueRunner } from './lock-queue.runner.js';

const LEASE_MS = 3_000;
const idOf = (name: string): MemberId => ({ address: `${name}:1`, incarnation: name });

const inWords = (body: FrameBody): string => {
  if (body.$case === 'lockReleased') {
    const { relayed, successor } = body.value;
    return `released${relayed ? ' relayed' : ''}${successor && ` for ${successor}`}`;
  }
  if (body.$case === 'lockWaiting') return body.value.waiting ? `waits ${body.value.waitedMs}` : 'leaves';
  return body.$case === 'lockQueued' ? `queued ${body.value.reads}` : body.$case;
};
const released = (relayed: boolean, successor = ''): FrameBody => ({
  $case: 'lockReleased',
  value: { name: 'one', token: 7n, relayed, successor },
});
const waiting = (waitedMs?: number): FrameBody => ({
  $case: 'lockWaiting',
  value: { name: 'one', waiting: waitedMs !== undefined, waitedMs: waitedMs ?? 0 },
});
const queued = (reads: boolean): FrameBody => ({ $case: 'lockQueued', value: { name: 'one', reads } });

describe('LockQueueRunner', () => {
  let clock: VirtualClock;
  let sent: string[];
  let heard: string[];

  beforeEach(() => {
    clock = new VirtualClock();
    sent = [];
    heard = [];
  });

  const link = (peer: string, full = false): Link =>
    ({
      peer: idOf(peer),
      direction: 'accepted',
      send: (body) => {
        if (full) throw new Error('overloaded');
        sent.push(`${peer} ${inWords(body)}`);
      },
    }) as Partial<Link> as Link;
  /** A pod with open links to these peers, one of which may have a full queue. */
  const make = (leader: string | undefined, peers: readonly string[], full?: string) => {
    const links = peers.map((peer) => link(peer, peer === full));
    const linked = ({ incarnation }: MemberId) => links.find(({ peer }) => peer.incarnation === incarnation);
    const pod = new LockQueueRunner({
      transport: { self: idOf('self'), linked, dialled: linked, links: () => links },
      route: {
        current: () =>
          leader === undefined ? undefined : { leader: idOf(leader), epoch: 1n, self: leader === 'self' },
      },
      clock,
      leaseMs: LEASE_MS,
    });
    pod.listen({
      releasedElsewhere: (name, token, successor) => heard.push(`${name} ${token} ${successor}`),
      queued: (name, reads) => heard.push(`${name} ${reads ? 'reads' : 'leaves'}`),
    });
    return pod;
  };
  describe('of a pod that releases a lock', () => {
    it('notifies the leader alone', () => {
      make('a', ['a', 'b']).released('one', 7n);
      expect(sent).toEqual(['a released']);
    });

    it('notifies each pod once, over any of its links, when it knows no leader or cannot reach it', () => {
      make(undefined, ['a', 'b', 'a', 'c'], 'b').released('one', 7n);
      make('a', ['a', 'b'], 'a').released('one', 7n);
      expect(sent).toEqual(['a released', 'c released', 'b released']);
    });
  });

  describe('of a pod that waits for a lock', () => {
    it('reports to the leader that it waits and for how long, every third of a lease, until it leaves', () => {
      const pod = make('a', ['a', 'b']);
      clock.advance(100);
      pod.wait('one', clock.now().mono - 100);
      clock.advance(1_000);
      clock.advance(1_000);
      pod.leave('one');
      clock.advance(5_000);
      expect(sent).toEqual(['a waits 100', 'a waits 1100', 'a waits 2100', 'a leaves']);
    });

    it('hears whether it reads the lease, and of a release', () => {
      const pod = make('a', ['a']);
      pod.wait('one', clock.now().mono);
      for (const body of [queued(false), queued(true), released(true, 'self')]) {
        expect(pod.frame(link('a'), body)).toBe(true);
      }
      expect(heard).toEqual(['one leaves', 'one reads', 'one 7 self']);
    });

    it('reports again that it waits no more when the leader still counts on it, and passes a release on', () => {
      const pod = make('a', ['a']);
      pod.frame(link('a'), queued(true));
      pod.frame(link('a'), released(true, 'self'));
      expect(sent).toEqual(['a leaves', 'a released']);
      expect(heard).toEqual([]);
    });

    it('hears of a release from a pod that knows no leader', () => {
      make('a', ['a', 'b']).frame(link('b'), released(false));
      expect(heard).toEqual(['one 7 undefined']);
      expect(sent).toEqual([]);
    });
  });

  describe('of the leader', () => {
    it('answers each report, and notifies the pod that waits longest of a release', () => {
      const pod = make('self', ['a', 'b', 'c', 'd']);
      for (const [place, peer] of ['a', 'b', 'c'].entries()) pod.frame(link(peer), waiting(100 - place));
      pod.frame(link('d'), released(false));
      pod.frame(link('a'), waiting());
      expect(sent).toEqual([
        'a queued true',
        'b queued true',
        'c queued false',
        'a released relayed for a',
        'c queued true',
      ]);
      expect(heard).toEqual([]);
    });

    it('waits and releases by the same rules', () => {
      const pod = make('self', ['a', 'b']);
      pod.wait('one', clock.now().mono);
      pod.frame(link('a'), released(false));
      pod.leave('one');
      pod.frame(link('b'), waiting(0));
      pod.released('one', 8n);
      expect(heard).toEqual(['one reads', 'one 7 self']);
      expect(sent).toEqual(['b queued true', 'b released relayed for b']);
    });

    it('does not choose the pod that has released the lock', () => {
      const pod = make('self', ['a', 'b', 'c']);
      for (const peer of ['a', 'b', 'c']) pod.frame(link(peer), waiting(0));
      sent = [];
      pod.frame(link('a'), released(false));
      expect(sent).toEqual(['c queued true', 'b released relayed for b']);
    });

    it('relays to all but the sender while it is new, and to nobody later', () => {
      const pod = make('self', ['a', 'b', 'a', 'c']);
      pod.frame(link('a'), released(false));
      expect(sent).toEqual(['b released relayed', 'c released relayed']);
      clock.advance(LEASE_MS);
      pod.frame(link('a'), released(false));
      expect(sent).toHaveLength(2);
      expect(heard).toEqual(['one 7 undefined']);
    });

    it('relays to all while a pod of version 0.1 is linked', () => {
      const pod = make('self', ['a', 'b', 'old']);
      clock.advance(LEASE_MS);
      pod.frame(link('a'), waiting(0));
      pod.heartbeat(link('old'), false);
      pod.frame(link('b'), released(false));
      expect(sent).toEqual(['a queued true', 'a released relayed', 'old released relayed']);
      pod.unlinked(idOf('old'));
      pod.frame(link('b'), released(false));
      expect(sent.slice(3)).toEqual(['a released relayed for a']);
    });

    it('drops a pod whose link has closed', () => {
      const pod = make('self', ['a', 'b', 'c']);
      for (const peer of ['a', 'b', 'c']) pod.frame(link(peer), waiting(0));
      sent = [];
      pod.unlinked(idOf('a'));
      pod.frame(link('d'), released(false));
      expect(sent).toEqual(['c queued true', 'b released relayed for b']);
    });
  });

  it('does not relay as a follower, does not relay a copy again, and ignores other frames', () => {
    const follower = make('a', ['a', 'b']);
    follower.frame(link('b'), released(false));
    follower.frame(link('b'), waiting(0));
    make('self', ['a', 'b']).frame(link('a'), released(true));
    expect(sent).toEqual([]);
    expect(heard).toHaveLength(2);
    expect(follower.frame(link('a'), { $case: 'leave', value: {} })).toBe(false);
  });
});
