import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import type { FrameBody, Link, Transport, TransportEvents } from '../transport/transport.js';
import { connectLinks } from './link-handlers.js';

const link = (direction: Link['direction'], address: string): Link =>
  ({ direction, peer: { address, incarnation: 'one' } }) as Link;

describe('the links of a pod', () => {
  it('are logged at level DEBUG when they open and close, with the reason', () => {
    const lines: string[] = [];
    let events: TransportEvents | undefined;
    const transport = { attach: (given: TransportEvents) => void (events = given) } as unknown as Transport;
    const heard = { opened: () => undefined, closed: () => undefined, linkClosed: () => undefined };
    const parts = { elector: heard, messenger: heard, membership: heard, semaphores: { unlinked: () => undefined } };
    connectLinks(transport, parts as never, { debug: (line) => void lines.push(line) });
    events?.opened(link('dialled', '10.0.0.1:7400'));
    events?.opened(link('accepted', ''));
    events?.closed(link('dialled', '10.0.0.1:7400'), new HedgeError('MEMBER_UNREACHABLE', 'no keepalive'));
    expect(lines).toEqual([
      'Link to 10.0.0.1:7400 opened',
      'Link from a client opened',
      'Link to 10.0.0.1:7400 closed: no keepalive',
    ]);
  });

  it('pass each term that a peer names to the election, before the frame is handled', () => {
    const calls: string[] = [];
    let events: TransportEvents | undefined;
    const transport = { attach: (given: TransportEvents) => void (events = given) } as unknown as Transport;
    const frame = (_: Link, { $case }: FrameBody) => calls.push($case) > 0;
    const handled = { frame, heartbeat: () => undefined };
    const elector = { heard: (epoch: bigint) => void calls.push(`heard ${epoch}`), heartbeat: () => undefined };
    const parts = { elector, messenger: handled, membership: handled, locks: handled };
    connectLinks(transport, parts as never, { debug: () => undefined });
    const leader = { address: 'b:1', incarnation: 'b', epoch: 9n };
    const frames = [
      { $case: 'heartbeat', value: { epoch: 5n } },
      { $case: 'view', value: { epoch: 6n } },
      { $case: 'leaderReleased', value: { epoch: 7n, successor: 'b' } },
      { $case: 'request', value: { epoch: 8n } },
      { $case: 'reply', value: { failure: { code: 'NOT_LEADER', leader } } },
      { $case: 'reply', value: {} },
      { $case: 'leaseRenewed', value: { token: 10n, renewals: 1n } },
      { $case: 'leave', value: {} },
    ];
    for (const frame of frames) events?.frame(link('accepted', 'a:1'), frame as FrameBody);
    const ofLeader = ['heard 5', 'heartbeat', 'heard 6', 'view', 'heard 7', 'leaderReleased'];
    const requests = ['heard 8', 'request', 'heard 9', 'reply', 'heard 0', 'reply'];
    expect(calls).toEqual([...ofLeader, ...requests, 'heard 10', 'leaseRenewed', 'heard 0', 'leave']);
  });
});
