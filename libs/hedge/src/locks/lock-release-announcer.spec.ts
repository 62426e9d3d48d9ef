import { describe, expect, it } from '@jest/globals';
import type { FrameBody, Link } from '../transport/transport.js';
import { LockReleaseAnnouncer } from './lock-release-announcer.js';

const notice = (relayed: boolean): FrameBody => ({
  $case: 'lockReleased',
  value: { name: 'one', token: 7n, relayed },
});
const make = (leads: boolean, peers: readonly string[], full: readonly string[] = []) => {
  const sent: string[] = [];
  const heard: unknown[] = [];
  const links = peers.map((incarnation) => {
    const send = (body: FrameBody): void => {
      if (full.includes(incarnation)) throw new Error('overloaded');
      sent.push(`${incarnation} ${body.$case === 'lockReleased' && body.value.relayed ? 'relayed' : 'first hand'}`);
    };
    return { peer: { address: `${incarnation}:1`, incarnation }, send } as unknown as Link;
  });
  const notices = new LockReleaseAnnouncer({
    links: () => links,
    leads: () => leads,
  });
  notices.onReleased((name, token) => heard.push([name, token]));
  return { notices, links, sent, heard };
};

describe('LockReleaseAnnouncer', () => {
  it('announces to each member once, over any of its links, and continues when one link is full', () => {
    const { notices, sent } = make(false, ['a', 'b', 'a', 'c'], ['b']);
    notices.announce({ name: 'one', token: 7n });
    expect(sent).toEqual(['a first hand', 'c first hand']);
  });

  it('relays as the leader, to all members but the sender', () => {
    const { notices, links, sent, heard } = make(true, ['a', 'b', 'a', 'c']);
    expect(notices.frame(links[0]!, notice(false))).toBe(true);
    expect(heard).toEqual([['one', 7n]]);
    expect(sent).toEqual(['b relayed', 'c relayed']);
  });

  it('relays once: followers do not relay, and a relayed announcement is not relayed again', () => {
    const follower = make(false, ['a', 'b']);
    follower.notices.frame(follower.links[0]!, notice(false));
    const leader = make(true, ['a', 'b']);
    leader.notices.frame(leader.links[0]!, notice(true));
    expect([...follower.sent, ...leader.sent]).toEqual([]);
    expect(follower.heard).toEqual(leader.heard);
  });

  it('ignores other frames', () => {
    const { notices, links } = make(true, ['a']);
    expect(notices.frame(links[0]!, { $case: 'leave', value: {} })).toBe(false);
  });
});
