import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import type { Link, Transport, TransportEvents } from '../transport/transport.js';
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
});
