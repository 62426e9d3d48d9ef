import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { TIMING_PRESETS } from '../common/timing.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import type { FrameBody, Link } from '../transport/transport.js';
import type { Leadership } from './leadership.js';
import { LeaderElector, type LeaderElectorOptions } from './leader-elector.runner.js';

const timing = TIMING_PRESETS.local;

interface Pod {
  readonly self: MemberId;
  readonly elector: LeaderElector;
  readonly faults: BackendFaults;
  readonly dial: jest.Mock<() => Promise<Link>>;
  readonly lines: string[];
  readonly warnings: string[];
}

/** The first warning that contains the text. */
const lost = ({ warnings }: Pod): string | undefined => {
  return warnings.find((line) => line.startsWith('This pod is no longer the leader'));
};

describe('LeaderElector', () => {
  let clock: VirtualClock;
  let database: ReturnType<typeof memoryDatabase>;
  let pods: Pod[];

  const pod = (name: string, options: Partial<LeaderElectorOptions> = {}): Pod => {
    const self: MemberId = { address: `${name}:1`, incarnation: name };
    const faults = new BackendFaults();
    const lines: string[] = [];
    const warnings: string[] = [];
    const logger = {
      log: (line: string) => void lines.push(line),
      warn: (line: string) => void (lines.push(line), warnings.push(line)),
    };
    const send = (body: FrameBody): void => {
      for (const { elector } of pods) if (body.$case === 'leaderReleased') elector.leaderReleased(body.value.epoch);
    };
    const link = { send, close: () => undefined } as unknown as Link;
    const dial = jest.fn(async () => link);
    const elector = new LeaderElector({
      leases: faulty(memory({ database, clock }), faults, clock).create({ timeoutMs: 1_000 }).lease,
      transport: { self, dial, links: () => [link] },
      clock,
      group: 'test',
      timing,
      campaigns: true,
      drainMs: 1_000,
      logger,
      random: () => 0.5,
      ...options,
    });
    const made = { elector, faults, dial, lines, warnings, self };
    pods.push(made);
    return made;
  };
  /** Small steps, so that promises settle between timers. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) await clock.advanceAsync(Math.min(50, ms - passed));
  };
  const leaders = (): string[] => pods.filter(({ elector }) => elector.isLeader()).map(({ self }) => self.address);

  beforeEach(() => {
    clock = new VirtualClock();
    database = memoryDatabase({ clock });
    pods = [];
  });

  it('leads alone, logs it, and has a rising fencing token', async () => {
    const { elector } = pod('a');
    expect(elector.isLeader()).toBe(false);
    elector.start();
    await pass(100);
    expect(elector.current()).toEqual({
      leader: { address: 'a:1', incarnation: 'a' },
      epoch: elector.fencingToken,
      self: true,
    });
    const first = elector.fencingToken ?? 0n;
    await elector.resign();
    await pass(4_000);
    expect(elector.fencingToken).toBeGreaterThan(first);
  });

  it('L1: one of three leads, and the others know the leader', async () => {
    for (const name of ['a', 'b', 'c']) pod(name).elector.start();
    await pass(5_000);
    expect(leaders()).toHaveLength(1);
    for (const { elector } of pods) expect(elector.current()?.leader.address).toBe(leaders()[0]);
  });

  describe('warns with the cause of a lost lease', () => {
    it('a failed database call, with its error', async () => {
      const one = pod('a');
      one.elector.start();
      await pass(100);
      one.faults.each(() => ({ fails: 'before-effect' }));
      await pass(3_000);
      expect(lost(one)).toContain('the last renewal failed: Planned fault: lease.renew failed');
    });

    it('a database that is slower than backendTimeoutMs, which `timing` sets', async () => {
      const one = pod('a');
      one.elector.start();
      await pass(100);
      one.faults.each(() => ({ delayMs: 5_000 }));
      await pass(3_000);
      expect(lost(one)).toMatch(/did not answer within 1000 ms \(backendTimeoutMs\).*`timing`/);
    });

    it('a blocked event loop, with the duration', async () => {
      const one = pod('a');
      one.elector.start();
      await pass(100);
      // Time passes while no timer runs: the timers of this elector are late.
      clock.block(4_000);
      expect(one.elector.isLeader()).toBe(false);
      const [, blockedMs] = /the event loop was blocked for (\d+) ms/.exec(lost(one) ?? '') ?? [];
      expect(Number(blockedMs)).toBeGreaterThan(2_700);
    });

    it('a jump of the wall clock, with its size', async () => {
      const one = pod('a');
      one.elector.start();
      await pass(100);
      clock.jumpWall(3_600_000);
      expect(one.elector.isLeader()).toBe(false);
      expect(lost(one)).toContain('the wall clock jumped 3600000 ms ahead');
    });
  });

  it('warns of another live pod at its own address, and not of itself before a restart', async () => {
    const first = pod('a');
    first.elector.start();
    await pass(100);
    const twin: MemberId = { address: 'a:1', incarnation: 'twin' };
    const second = pod('b', { transport: { self: twin, dial: first.dial, links: () => [] } });
    second.elector.start();
    const ownAddressWarnings = () => second.lines.filter((line) => line.includes("this pod's own address"));
    await pass(timing.leaseMs);
    expect(ownAddressWarnings()).toEqual([]);
    await pass(timing.leaseMs);
    expect(ownAddressWarnings()).toEqual([expect.stringMatching(/Another live pod .* a:1 .*process a.*POD_IP/)]);

    const restarted: MemberId = { address: 'a:1', incarnation: 'restarted' };
    const third = pod('c', { transport: { self: restarted, dial: first.dial, links: () => [] } });
    first.elector.close();
    second.elector.close();
    third.elector.start();
    await pass(4 * timing.leaseMs);
    expect(third.elector.isLeader()).toBe(true);
    expect(third.lines.filter((line) => line.includes("this pod's own address"))).toEqual([]);
  });

  it('logs at level DEBUG a renewal that took a quarter of its time or more', async () => {
    const debug = jest.fn();
    const one = pod('a', { logger: { log: () => undefined, warn: () => undefined, debug } });
    one.elector.start();
    await pass(3_000);
    expect(debug).not.toHaveBeenCalled();
    one.faults.each(() => ({ delayMs: 600 }));
    await pass(2_000);
    expect(one.elector.isLeader()).toBe(true);
    expect(debug).toHaveBeenCalledWith(
      expect.stringMatching(/^The renewal of the lease of group test took 6\d\d ms of /),
      {
        event: 'renewal.late',
        token: one.elector.leadership!.fencingToken,
        durationMs: expect.any(Number),
        limitMs: 2_000,
      },
    );
  });

  it('L2: steps down without the database, notifies in order, and leads again when the database is back', async () => {
    const { elector, faults, lines } = pod('a');
    const order: string[] = [];
    elector.onElected(({ signal }) => {
      signal.addEventListener('abort', () => order.push(`abort, leader: ${elector.isLeader()}`));
    });
    elector.onChange(() => order.push(`change to ${elector.current()?.leader.address ?? 'nobody'}`));
    elector.start();
    await pass(100);
    const token = elector.fencingToken ?? 0n;
    faults.outage = true;
    await pass(3_000);
    expect(order).toEqual(['change to a:1', 'abort, leader: false', 'change to nobody']);
    faults.outage = false;
    await pass(1_000);
    expect(elector.fencingToken).toBeGreaterThan(token);
    expect(lines.filter((line) => line.startsWith('The lease cannot be read or written'))).toHaveLength(1);
    expect(lines).toContain('The lease can be read and written again');
  });

  it('warns once that writes fail while reads succeed, as on a full disk, and retries at growing intervals', async () => {
    const { elector, faults, lines } = pod('a');
    const acquired: number[] = [];
    faults.each((call) => {
      if (call !== 'lease.acquire') return undefined;
      acquired.push(clock.now().mono);
      return { fails: 'before-effect' };
    });
    elector.start();
    await pass(30_000);
    const failing = lines.filter((line) => line.startsWith('The lease cannot be'));
    expect(failing).toEqual([expect.stringContaining('lease.acquire failed')]);
    expect(lines.filter((line) => line.includes('again'))).toEqual([]);
    expect(elector.trouble).toContain('lease.acquire failed');
    // The pause grows to four times `retryMs`, of which the jitter uses half to all.
    const pauses = acquired.slice(1).map((at, index) => at - (acquired[index] ?? 0));
    expect(pauses.slice(4).every((pause) => pause >= 2 * timing.retryMs)).toBe(true);
    faults.each(() => undefined);
    await pass(1_000);
    expect(elector.isLeader()).toBe(true);
    expect(lines.filter((line) => line.includes('again'))).toEqual(['The lease can be read and written again']);
    expect(elector.trouble).toBeUndefined();
  });

  it('logs that writes work again when another pod has written since', async () => {
    const [a, b] = [pod('a'), pod('b')];
    a.faults.each((call) => (call === 'lease.acquire' ? { fails: 'before-effect' } : undefined));
    a.elector.start();
    await pass(1_000);
    expect(a.elector.trouble).toBeDefined();
    b.elector.start();
    await pass(3_000);
    expect(leaders()).toEqual(['b:1']);
    expect(a.elector.trouble).toBeUndefined();
    expect(a.lines.filter((line) => line.startsWith('The lease can'))).toEqual([
      expect.stringContaining('cannot be read or written'),
      'The lease can be read and written again',
    ]);
  });

  it('L2: a call of isLeader() makes an expired term final, even if the wall clock is set back afterwards', async () => {
    const { elector } = pod('a');
    elector.start();
    await pass(100);
    const token = elector.fencingToken;
    clock.jumpWall(60_000);
    expect(elector.isLeader()).toBe(false);
    clock.jumpWall(-60_000);
    expect(elector.leads(token ?? 0n)).toBe(false);
  });

  it('L3: a call of isLeader() makes an expired term final, even if the wall clock is set back right after its reading', async () => {
    const { elector } = pod('a');
    elector.start();
    await pass(100);
    const token = elector.fencingToken;
    const { mono, wall } = clock.now();
    jest.spyOn(clock, 'now').mockReturnValueOnce({ mono, wall: wall + 60_000 });
    expect(elector.isLeader()).toBe(false);
    expect(elector.leads(token ?? 0n)).toBe(false);
  });

  it('releases the lease at once when it stops, after leader work has ended', async () => {
    const [a, b] = [pod('a'), pod('b')];
    a.elector.start();
    await pass(100);
    b.elector.start();
    await pass(100);
    const work = new AbortController();
    a.elector.onDrain(() => new Promise((resolve) => work.signal.addEventListener('abort', () => resolve())));
    const stopped = a.elector.stop();
    await pass(500);
    expect(leaders()).toEqual(['a:1']);
    expect(a.elector.handingOver).toBe(true);
    work.abort();
    await pass(150);
    await stopped;
    expect(leaders()).toEqual(['b:1']);
    await expect(a.elector.stop()).resolves.toBeUndefined();
  });

  it('resign() resolves when the lease is released, also when it is called at the election', async () => {
    const { elector } = pod('a');
    let resigned: Promise<void> | undefined;
    let ledWhenDone: boolean | undefined;
    elector.onElected(() => {
      resigned ??= elector.resign().then(() => void (ledWhenDone = elector.isLeader()));
    });
    elector.start();
    await pass(100);
    await resigned;
    expect(ledWhenDone).toBe(false);
  });

  it('does not wait longer than drainMs for leader work that hangs', async () => {
    const { elector, lines } = pod('a');
    elector.start();
    await pass(100);
    elector.onDrain(() => new Promise(() => undefined));
    const stopped = elector.stop();
    await pass(1_100);
    await stopped;
    expect(elector.isLeader()).toBe(false);
    expect(lines.some((line) => line.includes('still runs after drainMs (1000 ms)'))).toBe(true);
  });

  it('resign() resolves also when a close cuts it short, or comes before it', async () => {
    const { elector } = pod('a');
    elector.onDrain(() => new Promise(() => undefined));
    elector.start();
    await pass(100);
    const cutShort = elector.resign();
    elector.close();
    await cutShort;
    await elector.resign();
    expect(elector.isLeader()).toBe(false);
  });

  it('stops within the time of its calls when the database does not answer', async () => {
    const { elector, faults } = pod('a');
    elector.start();
    await pass(100);
    faults.outage = true;
    const stopped = elector.stop();
    await pass(1_000);
    await stopped;
  });

  it('does not campaign when another process answers at its own address, and warns once', async () => {
    const { elector, dial, lines } = pod('a');
    dial.mockRejectedValue(new HedgeError('MEMBER_UNREACHABLE', 'other', { details: { incarnation: 'x' } }));
    elector.start();
    await pass(2_000);
    expect(elector.isLeader()).toBe(false);
    expect(lines).toEqual([expect.stringContaining('two pods have one address')]);
  });

  it('abandons a call that the driver never answers', async () => {
    const { elector, faults } = pod('a');
    faults.once('lease.read', { delayMs: 60_000 });
    elector.start();
    await pass(1_500);
    expect(elector.isLeader()).toBe(true);
  });

  it('confirms leadership with the database, and ends its term when the database contradicts it', async () => {
    const { elector, faults } = pod('a');
    elector.start();
    await pass(100);
    await expect(elector.confirmLeadership()).resolves.toBe(true);
    faults.once('lease.read', { fails: 'before-effect' });
    await expect(elector.confirmLeadership()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    database.takeLease(
      'hedge/lease/test',
      { holder: { address: 'b:1', incarnation: 'b' }, leaseMs: 3_000 },
      () => true,
    );
    expect(elector.isLeader()).toBe(true);
    await expect(elector.confirmLeadership()).resolves.toBe(false);
    expect(elector.isLeader()).toBe(false);
  });

  it('refresh() waits for a read that began after its call, and concurrent callers share it', async () => {
    const { elector, faults } = pod('a', { campaigns: false });
    let reads = 0;
    faults.each((call) => {
      if (call === 'lease.read') reads += 1;
      return undefined;
    });
    elector.start();
    await pass(100);
    reads = 0;
    database.takeLease(
      'hedge/lease/test',
      { holder: { address: 'b:1', incarnation: 'b' }, leaseMs: 3_000 },
      () => true,
    );
    const both = Promise.all([elector.refresh(), elector.refresh()]);
    await pass(100);
    await both;
    expect(elector.current()?.leader.address).toBe('b:1');
    // One read for the first call, and one that began after the second call.
    expect(reads).toBeLessThanOrEqual(2);
  });

  it('calls a late listener with the current term', async () => {
    const { elector } = pod('a');
    elector.start();
    await pass(100);
    const terms: Leadership[] = [];
    elector.onElected((term) => terms.push(term));
    expect(terms).toEqual([
      {
        fencingToken: elector.fencingToken,
        signal: expect.any(AbortSignal),
        fence: expect.any(Function),
        transaction: expect.any(Function),
      },
    ]);
  });

  it('notifies the other listeners when one throws', async () => {
    const { elector, lines } = pod('a');
    let heard = 0;
    elector.onChange(() => {
      throw new Error('bad listener');
    });
    elector.onChange(() => (heard += 1));
    elector.start();
    await pass(100);
    expect(heard).toBe(1);
    expect(lines.some((line) => line.includes('bad listener'))).toBe(true);
  });

  it('gives the driver each higher term that a peer names, once', () => {
    const { lease } = memory({ database, clock }).create({ timeoutMs: 1_000 });
    const given: unknown[] = [];
    const leases = { ...lease, observes: true, heard: (...args: unknown[]) => void given.push(args) };
    const { elector } = pod('a', { leases });
    for (const epoch of [0n, 9n, 9n, 8n, 10n]) elector.heard(epoch);
    expect(given).toEqual([9n, 10n].map((token) => ['hedge/lease/test', token, timing.leaseMs]));
  });
});
