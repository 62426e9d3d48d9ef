import { describe, expect, it } from '@jest/globals';
import { RecordingTransport } from './recording-transport.js';
import { MemoryNetwork } from './memory-transport.js';
import { VirtualClock } from './virtual-clock.js';

const heartbeat = (version: number) =>
  ({
    $case: 'heartbeat',
    value: { epoch: 1n, version, spill: undefined, acceptsChanges: true, capacityEdition: 0, candidate: undefined },
  }) as const;

/** Two members on a virtual network. Member `a` has a link to `b`. */
async function pairOnVirtualTime() {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock });
  const a = new RecordingTransport((self) => network.transport(self), 'a:1');
  const b = new RecordingTransport((self) => network.transport(self), 'b:1');
  await b.transport.listen();
  const dial = async () => {
    const attempt = a.transport.dial({ address: 'b:1' });
    attempt.catch(() => undefined);
    await clock.advanceAsync(0);
    await clock.advanceAsync(0);
    return attempt;
  };
  return { clock, network, a, b, dial, link: await dial() };
}

describe('MemoryNetwork', () => {
  it('delivers frames in order, after the delay', async () => {
    const { clock, network, b, link } = await pairOnVirtualTime();
    network.delay(50);
    link.send(heartbeat(1));
    link.send(heartbeat(2));
    await clock.advanceAsync(49);
    expect(b.frames).toEqual([]);
    await clock.advanceAsync(1);
    expect(b.frames).toEqual([heartbeat(1), heartbeat(2)]);
  });

  it('partition breaks links and dials until heal', async () => {
    const { network, a, b, dial } = await pairOnVirtualTime();
    network.partition(a.self, b.self);
    expect(a.closed).toHaveLength(1);
    expect(b.closed).toHaveLength(1);
    await expect(dial()).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
    network.heal();
    expect((await dial()).open).toBe(true);
  });

  it('stall delays frames until heal, and breaks no link', async () => {
    const { clock, network, a, b, link } = await pairOnVirtualTime();
    network.stall(a.self, b.self);
    link.send(heartbeat(1));
    await clock.advanceAsync(20_000);
    expect(b.frames).toEqual([]);
    expect(link.open).toBe(true);
    network.heal(a.self, b.self);
    await clock.advanceAsync(0);
    expect(b.frames).toEqual([heartbeat(1)]);
  });

  it('drop loses the frame and breaks the link', async () => {
    const { clock, network, a, b, link } = await pairOnVirtualTime();
    network.drop(({ to, body }) => to.address === 'b:1' && body.$case === 'heartbeat');
    link.send(heartbeat(1));
    await clock.advanceAsync(0);
    expect(b.frames).toEqual([]);
    expect(link.open).toBe(false);
    expect(a.closed).toHaveLength(1);
    expect(b.closed).toHaveLength(1);
  });

  it('kill silences a member and breaks the links of its peers', async () => {
    const { clock, network, a, b, dial, link } = await pairOnVirtualTime();
    network.kill(b.self);
    await clock.advanceAsync(0);
    expect(link.open).toBe(false);
    expect(a.closed).toHaveLength(1);
    expect(b.closed).toEqual([]);
    await expect(dial()).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('closing a transport frees its address', async () => {
    const { clock, network, b } = await pairOnVirtualTime();
    const next = new RecordingTransport((self) => network.transport(self), 'b:1');
    await expect(next.transport.listen()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    await b.transport.close();
    await clock.advanceAsync(0);
    await next.transport.listen();
  });
});
