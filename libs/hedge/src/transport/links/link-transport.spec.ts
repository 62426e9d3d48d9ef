import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { SILENT } from '../../common/line-logger.js';
import { MemoryNetwork } from '../../testing/memory-transport.js';
import { RecordingTransport } from '../../testing/recording-transport.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import type { Link } from '../transport.js';

const heartbeat = (version: number) =>
  ({
    $case: 'heartbeat',
    value: { epoch: 1n, version, spill: undefined, acceptsChanges: true, capacityEdition: 0, candidate: undefined },
  }) as const;

const error = jest.fn();

/** Members on one virtual network. `run` delivers all messages in flight. */
function setUp() {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock });
  const member = (address: string, incarnation?: string) =>
    new RecordingTransport((self) => network.transport(self, { logger: { ...SILENT, error } }), address, incarnation);
  const run = async (ms = 0): Promise<void> => {
    for (let i = 0; i < 4; i++) await clock.advanceAsync(0);
    await clock.advanceAsync(ms);
  };
  const dial = async (from: RecordingTransport, target: { address: string; incarnation?: string }): Promise<Link> => {
    const attempt = from.transport.dial(target);
    attempt.catch(() => undefined);
    await run();
    return attempt;
  };
  return { clock, network, member, run, dial };
}

afterEach(() => void error.mockClear());

describe('LinkTransport: only the newest link is open', () => {
  it('a newer link closes the older, and later frames of the older are dropped', async () => {
    const { clock, network, member, run, dial } = setUp();
    const b = member('b:1');
    await b.transport.listen();
    const first = member('a:1', 'same');
    await dial(first, b.self);
    const second = member('a:1', 'same');
    // Its first link has the generation of the one that is open, so only the second attempt is newer.
    await expect(dial(second, b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });

    network.delay(50);
    first.opened[0]?.send(heartbeat(1));
    await clock.advanceAsync(0);
    network.delay(0);
    const newer = second.transport.dial(b.self);
    await run();
    await newer;
    await run(100);
    expect(b.frames).toEqual([]);
    expect(b.closed.map(({ link }) => link)).toEqual([b.opened[0]]);
    expect(first.closed).toHaveLength(1);
    expect([...b.transport.links()]).toEqual([b.opened[1]]);
  });

  it('reports the end of the older link before it resumes on the newer one', async () => {
    const { member, dial } = setUp();
    const b = member('b:1');
    await b.transport.listen();
    const first = member('a:1', 'same');
    await dial(first, b.self);
    const second = member('a:1', 'same');
    await dial(second, b.self).catch(() => undefined);
    second.outstanding = [4, 2];
    b.remembers = true;
    const link = await dial(second, b.self);
    expect(b.resumes.map(({ outstanding }) => outstanding)).toEqual([[], [4, 2]]);
    expect(b.resumes[1]?.caller).toEqual(second.self);
    expect(b.log).toEqual(['resume', 'opened', 'closed', 'resume', 'opened']);
    expect(link.resumed).toBe(true);
    expect(first.opened[0]?.resumed).toBe(false);
  });

  it('rejects an older link even after the newer one has closed', async () => {
    const { member, run, dial } = setUp();
    const b = member('b:1');
    await b.transport.listen();
    const first = member('a:1', 'same');
    for (let i = 0; i < 2; i++) {
      (await dial(first, b.self)).close();
      await run();
    }
    await expect(dial(member('a:1', 'same'), b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });
});

describe('LinkTransport: dialling', () => {
  it('lists the outstanding requests only after the receiver has proven itself', async () => {
    const { network, member, run } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    network.delay(10);
    const attempt = a.transport.dial(b.self);
    await run(10);
    a.outstanding = [9];
    await run(30);
    await attempt;
    expect(b.resumes[0]?.outstanding).toEqual([9]);
  });

  it('keeps attempts to reach different processes at one address apart', async () => {
    const { member, run } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    const stale = a.transport.dial({ address: 'b:1', incarnation: 'gone' });
    const any = a.transport.dial({ address: 'b:1' });
    const right = a.transport.dial(b.self);
    const refused = expect(stale).rejects.toMatchObject({ details: { incarnation: b.self.incarnation } });
    await run();
    await run();
    await refused;
    expect(await any).toBe(await right);
    expect(b.opened).toHaveLength(1);
  });

  it('a restarted member replaces its predecessor, even if that was not closed', async () => {
    const { network, member, run, dial } = setUp();
    const [a, before] = [member('a:1'), member('b:1')];
    await before.transport.listen();
    const old = await dial(a, before.self);
    network.stall(a.self, before.self);
    const closing = before.transport.close();
    const after = member('b:1');
    await after.transport.listen();
    expect((await dial(a, { address: 'b:1' })).peer).toEqual(before.self);

    const link = await dial(a, after.self);
    expect(link.peer).toEqual(after.self);
    expect(old.open).toBe(false);
    expect(a.transport.dialled(before.self)).toBeUndefined();
    expect(a.transport.dialled(after.self)).toBe(link);
    await run();
    await closing;
  });

  it('fails in time when the network is silent, and can dial again', async () => {
    const { network, member, run, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    network.stall(a.self, b.self);
    const attempt = a.transport.dial(b.self);
    const failed = expect(attempt).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
    await run(5_000);
    await failed;
    network.heal();
    await run();
    expect((await dial(a, b.self)).open).toBe(true);
    expect(b.opened).toHaveLength(1);
  });
});

describe('LinkTransport: listeners that throw', () => {
  it('loses neither the link nor later frames', async () => {
    const { member, run, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    b.onFrame = (_link, body) => {
      if (body.$case === 'heartbeat' && body.value.version === 1) throw new Error('a bug of the listener');
    };
    const link = await dial(a, b.self);
    link.send(heartbeat(1));
    link.send(heartbeat(2));
    await run();
    expect(b.frames).toEqual([heartbeat(1), heartbeat(2)]);
    expect(link.open).toBe(true);
    expect(error).toHaveBeenCalledWith(
      expect.stringContaining('a:1'),
      expect.stringContaining('a bug of the listener'),
    );
  });

  it('delivers no further frame after the listener closed the link', async () => {
    const { member, run, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    b.onFrame = (link) => link.close();
    const link = await dial(a, b.self);
    link.send(heartbeat(1));
    link.send(heartbeat(2));
    await run();
    expect(b.frames).toEqual([heartbeat(1)]);
    expect(link.open).toBe(false);
    link.send(heartbeat(3));
    link.acknowledge(1);
    link.close();
    expect(a.closed).toHaveLength(1);
  });

  it('a frame that cannot be encoded fails its sender and ends the link, since frames before it are lost', async () => {
    const { member, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    const link = await dial(a, b.self);
    expect(() => link.send(heartbeat(-1.5))).toThrow();
    expect(link.open).toBe(false);
    expect(a.closed).toHaveLength(1);
  });
});

it('acknowledgements reach the receiver', async () => {
  const { member, run, dial } = setUp();
  const [a, b] = [member('a:1'), member('b:1')];
  await b.transport.listen();
  const link = await dial(a, b.self);
  link.acknowledge(1);
  link.acknowledge(2);
  await run(1_000);
  await run();
  expect(b.acknowledged).toEqual([1, 2]);
});

describe('LinkTransport: notices to all members', () => {
  it.each([
    { $case: 'leaderReleased', value: { epoch: 1n, successor: '' } },
    { $case: 'lockReleased', value: { name: 'invoices', token: 1n, relayed: false, successor: '' } },
    { $case: 'lockQueued', value: { name: 'invoices', reads: true } },
  ] as const)('both sides of a link may send $$case', async (notice) => {
    const { member, run, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    const link = await dial(a, b.self);
    link.send(notice);
    b.opened[0]?.send(notice);
    await run();
    expect([...a.frames, ...b.frames]).toEqual([notice, notice]);
    expect([...a.closed, ...b.closed]).toEqual([]);
  });
});

describe('LinkTransport: unused links', () => {
  it('are closed by the member that dialled them, within a minute', async () => {
    const { member, run, dial } = setUp();
    const [a, b] = [member('a:1'), member('b:1')];
    await b.transport.listen();
    const link = await dial(a, b.self);
    await run(29_000);
    expect(link.open).toBe(true);
    await run(31_000);
    await run();
    expect(link.open).toBe(false);
    expect([...b.transport.links()]).toEqual([]);
    expect((await dial(a, b.self)).open).toBe(true);
  });

  it('stay open while either side sends frames, or a request has no reply yet', async () => {
    const { member, run, dial } = setUp();
    const [a, b, c, d] = [member('a:1'), member('b:1'), member('c:1'), member('d:1')];
    for (const { transport } of [b, c, d]) await transport.listen();
    const [sends, receives, waits] = [await dial(a, b.self), await dial(a, c.self), await dial(d, c.self)];
    d.outstanding = [1];
    for (let beat = 1; beat <= 10; beat += 1) {
      sends.send(heartbeat(beat));
      c.opened[0]?.send(heartbeat(beat));
      await run(20_000);
    }
    expect([sends.open, receives.open, waits.open]).toEqual([true, true, true]);
    d.outstanding = [];
    await run(30_000);
    expect([sends.open, receives.open, waits.open]).toEqual([true, true, false]);
  });
});
