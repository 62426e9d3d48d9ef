import { describe, expect, it } from '@jest/globals';
import { Encoding, type Reply } from '../../wire/hedge/v1/link.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { LEADER_MESSAGE } from '../../election/leader.service.js';
import { KV_PUT } from '../../kv/group-commit.runner.js';
import { BROADCAST } from '../../membership/broadcast.js';
import { ACQUIRE, RELEASE, RENEW } from '../../semaphores/semaphore-wire.js';
import { DEFAULT_MESSAGING_LIMITS } from '../limits.js';
import type { RequestType } from '../request-type.js';
import { RequestServer } from './request-server.runner.js';
import { Timeline } from './timeline.js';
import type { Origin } from './server-call.js';

const ROUTE = { current: () => undefined, leads: () => false, refresh: async () => {}, onChange: () => () => {} };
const REPLY = { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) };

describe('RequestServer', () => {
  it('tries a full queue once per tick for any number of waiting replies, and later sends them in order', async () => {
    const clock = new VirtualClock();
    const slow: Origin = { peer: { address: 'slow:1', incarnation: 'slow' } };
    const other: Origin = { peer: { address: 'other:1', incarnation: 'other' } };
    let full = true;
    const tried: { origin: Origin; sequence: number }[] = [];
    const receiver = new RequestServer({
      clock,
      timeline: new Timeline(),
      route: ROUTE,
      limits: DEFAULT_MESSAGING_LIMITS,
      reply: (origin: Origin, { sequence }: Reply) => {
        tried.push({ origin, sequence });
        return !full;
      },
    });
    receiver.serve(BROADCAST, async () => REPLY);
    for (const [sequence, origin] of [slow, slow, other, slow, other].entries()) {
      const request = { sequence, kind: BROADCAST.kind, topic: 't', payload: REPLY.bytes };
      const rest = { encoding: REPLY.encoding, timeoutMs: 60_000, attempt: 1, id: String(sequence), epoch: 0n };
      receiver.receive(origin, { ...request, ...rest });
    }
    await clock.advanceAsync(0);
    tried.length = 0;
    receiver.tick(10);
    expect(tried).toEqual([
      { origin: slow, sequence: 0 },
      { origin: other, sequence: 2 },
    ]);
    tried.length = 0;
    full = false;
    receiver.tick(20);
    expect(tried.map(({ sequence }) => sequence)).toEqual([0, 1, 2, 3, 4]);
    expect(tried.filter(({ origin }) => origin === slow)).toHaveLength(3);
  });

  it('S1: renews and releases permits during a drain, does not wait for them, and refuses all other requests', async () => {
    const refused: number[] = [];
    const receiver = new RequestServer({
      clock: new VirtualClock(),
      timeline: new Timeline(),
      route: { ...ROUTE, leads: () => true },
      limits: DEFAULT_MESSAGING_LIMITS,
      reply: (_origin: Origin, { sequence }: Reply) => refused.push(sequence) > 0,
    });
    const served: RequestType[] = [];
    const types = [RENEW, RELEASE, ACQUIRE, LEADER_MESSAGE];
    for (const type of types) {
      receiver.serve(type, () => {
        served.push(type);
        return new Promise(() => undefined);
      });
    }
    await receiver.drain(1n);
    for (const [sequence, { kind }] of types.entries()) {
      const rest = { topic: '', payload: REPLY.bytes, encoding: REPLY.encoding, timeoutMs: 60_000, attempt: 1 };
      receiver.receive({ peer: { address: 'a:1', incarnation: 'a' } }, { ...rest, sequence, kind, id: '', epoch: 1n });
    }
    expect([served, refused]).toEqual([types.slice(0, 2), [2, 3]]);
    await receiver.drain(1n);
  });

  it('accepts puts of its own pod during a drain, because its handlers may need them, and refuses those of other pods', async () => {
    const replied: number[] = [];
    const receiver = new RequestServer({
      clock: new VirtualClock(),
      timeline: new Timeline(),
      route: { ...ROUTE, leads: () => true },
      limits: DEFAULT_MESSAGING_LIMITS,
      reply: (_origin: Origin, { sequence, failure }: Reply) => failure !== undefined && replied.push(sequence) > 0,
    });
    let puts = 0;
    receiver.serve(KV_PUT, async () => ((puts += 1), REPLY));
    await receiver.drain(1n);
    const put = { kind: KV_PUT.kind, topic: '', payload: REPLY.bytes, encoding: REPLY.encoding };
    const rest = { ...put, timeoutMs: 60_000, attempt: 1, id: '', epoch: 1n };
    const peer = { address: 'a:1', incarnation: 'a' };
    receiver.receive({ peer, here: true }, { ...rest, sequence: 1 });
    receiver.receive({ peer }, { ...rest, sequence: 2 });
    expect([puts, replied]).toEqual([1, [2]]);
  });
});
