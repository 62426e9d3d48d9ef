import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { TIMING_PRESETS } from '../common/timing.js';
import { LeaderElector } from '../election/leader-elector.runner.js';
import { MemoryNetwork } from '../testing/memory-transport.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import type { FrameBody, Transport } from '../transport/transport.js';
import { HandOvers } from './hand-overs.js';
import { UnreachableReports } from './unreachable-reports.js';
import { MembershipRunner } from './membership.runner.js';

const timing = TIMING_PRESETS.local;

interface Pod {
  readonly elector: LeaderElector;
  readonly views: MembershipRunner;
  readonly transport: Transport;
  readonly lines: string[];
}

describe('MembershipRunner', () => {
  let clock: VirtualClock;
  let network: MemoryNetwork;
  let database: ReturnType<typeof memoryDatabase>;
  let pods: Pod[];

  const start = async (
    name: string,
    { client = false, appVersion }: { client?: boolean; appVersion?: string } = {},
  ): Promise<Pod> => {
    const transport = network.transport({ address: client ? '' : `${name}:1`, incarnation: name });
    const lines: string[] = [];
    const logger = { log: (line: string) => void lines.push(line), warn: (line: string) => void lines.push(line) };
    const { lease: leases, log } = memory({ database, clock }).create({ timeoutMs: 1_000 });
    const shared = { transport, clock, timing, logger, random: () => 0.5 };
    const elector = new LeaderElector({
      ...shared,
      leases,
      group: 'test',
      campaigns: !client,
      drainMs: 1_000,
      successor: () => views.successor(),
    });
    const reports = new UnreachableReports({ log, group: 'test', transport });
    const handOvers = new HandOvers({ log, group: 'test', transport });
    const startedAt = clock.now().wall;
    const candidate = () => (client ? undefined : { appVersion: appVersion ?? '', startedAt });
    const views: MembershipRunner = new MembershipRunner({
      ...shared,
      route: elector,
      reports,
      handOvers,
      appVersion,
      candidate,
    });
    transport.attach(
      {
        frame(link, body) {
          if (!views.frame(link, body) && body.$case === 'leaderReleased')
            elector.leaderReleased(body.value.epoch, body.value.successor || undefined);
        },
        acknowledged: () => undefined,
        opened: () => undefined,
        closed: (link) => views.linkClosed(link),
      },
      { outstandingAt: () => [], resume: () => false },
    );
    if (!client) await transport.listen();
    elector.start();
    views.start();
    const pod = { elector, views, transport, lines };
    pods.push(pod);
    return pod;
  };
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 100) {
      await clock.advanceAsync(100);
      // Handshakes take a few turns of the event loop.
      for (let turn = 0; turn < 4; turn += 1) await clock.advanceAsync(0);
    }
  };
  const members = ({ views }: Pod): string[] | undefined => views.view?.members.map(({ incarnation }) => incarnation);

  beforeEach(() => {
    clock = new VirtualClock();
    network = new MemoryNetwork({ clock });
    database = memoryDatabase({ clock });
    pods = [];
  });

  afterEach(async () => {
    for (const { views } of pods) views.stop();
    await Promise.all(pods.map(({ transport }) => transport.close()));
  });

  it('gives all pods the same settled view, and logs its members', async () => {
    const all = [await start('a'), await start('b'), await start('c')];
    await pass(4_000);
    for (const pod of all) {
      expect(members(pod)).toEqual(['a', 'b', 'c']);
      expect(pod.views.settled).toBe(true);
    }
    expect(new Set(all.map(({ views }) => views.view?.version)).size).toBe(1);
    expect(all[0]?.lines).toContain('Members: 3, joined: b:1, c:1');
  });

  it('the next leader after a crash has the other members in its view, and drops the dead one', async () => {
    const all = [await start('a'), await start('b'), await start('c')];
    await pass(4_000);
    const [first] = all.filter(({ elector }) => elector.isLeader());
    const others = all.filter((pod) => pod !== first);
    if (first === undefined) throw new Error('no leader');
    network.kill(first.transport.self);
    first.views.stop();
    void first.elector.stop();
    await pass(8_000);
    for (const pod of others) {
      expect(members(pod)).toEqual(others.map(({ transport }) => transport.self.incarnation));
      expect(pod.views.settled).toBe(true);
    }
  });

  const leaders = (): string[] =>
    pods.filter(({ elector }) => elector.isLeader()).map(({ transport }) => transport.self.incarnation);

  it('a leader that stops hands over to the member that started last', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await start(name);
      await pass(1_000);
    }
    const [first] = pods;
    expect(leaders()).toEqual(['a']);
    await Promise.all([first?.elector.stop(), pass(200)]);
    expect(leaders()).toEqual(['e']);
    expect(first?.lines).toContain('Handing the leadership of group test over to e:1');
  });

  it('a leader hands over once to a member of a newer version, and not again when that one is lost', async () => {
    await start('a', { appVersion: '1.9' });
    await pass(1_000);
    await start('b', { appVersion: '1.9' });
    const canary = await start('c', { appVersion: '1.10' });
    await pass(1_500);
    expect(leaders()).toEqual(['a']);
    await pass(3_000);
    expect(leaders()).toEqual(['c']);
    expect(pods[0]?.lines.some((line) => line.includes('c:1 is ready and has the newer version 1.10'))).toBe(true);

    network.kill(canary.transport.self);
    canary.views.stop();
    canary.elector.close();
    await pass(8_000);
    const [next] = leaders();
    await start('d', { appVersion: '1.10' });
    await pass(20_000);
    expect(leaders()).toEqual([next]);

    await start('e', { appVersion: '1.11' });
    await pass(5_000);
    expect(leaders()).toEqual(['e']);
  });

  it('a member that stops leaves the view at once', async () => {
    const [a, b] = [await start('a'), await start('b')];
    await pass(4_000);
    const [leader, other] = a.elector.isLeader() ? [a, b] : [b, a];
    await other.elector.stop();
    other.views.stop();
    await pass(100);
    expect(members(leader)).toEqual([leader.transport.self.incarnation]);
  });

  it('a client sees the members and is not one of them', async () => {
    const pod = await start('a');
    const client = await start('client', { client: true });
    await pass(6_000);
    expect(members(pod)).toEqual(['a']);
    expect(members(client)).toEqual(['a']);
  });

  it('a pod that is cut off from the leader is dropped, and admitted again when it is back', async () => {
    const [a, b] = [await start('a'), await start('b')];
    await pass(4_000);
    const leader = a.elector.isLeader() ? a : b;
    network.partition(a.transport.self, b.transport.self);
    await pass(3_000);
    expect(members(leader)).toHaveLength(1);
    network.heal();
    await pass(2_000);
    expect(members(leader)).toHaveLength(2);
  });

  const split = (side: Pod[], other: Pod[]): void => {
    for (const one of side) for (const two of other) network.partition(one.transport.self, two.transport.self);
  };
  const leadersOf = (all: Pod[]): Pod[] => all.filter(({ elector }) => elector.isLeader());

  it('a leader that reaches the database but not its members resigns once for one that they reach', async () => {
    const all = [await start('a'), await start('b'), await start('c')];
    await pass(4_000);
    const [leader] = leadersOf(all) as [Pod];
    const others = all.filter((pod) => pod !== leader);
    split([leader], others);
    await pass(4_000);
    expect(leader.lines.some((line) => line.startsWith('Most members are silent'))).toBe(true);
    for (const pod of others) {
      expect(pod.views.settled).toBe(false);
      expect(pod.lines.some((line) => line.startsWith('The leader') && line.includes('has not answered'))).toBe(true);
    }
    await pass(20_000);
    const [next] = leadersOf(all);
    expect(others).toContain(next);
    for (const pod of others) expect(pod.views.settled).toBe(true);
    expect(leader.views.settled).toBe(false);
    const epoch = next?.views.view?.epoch;
    await pass(40_000);
    network.heal();
    await pass(4_000);
    for (const pod of all) {
      expect(pod.views.settled).toBe(true);
      expect(pod.views.view?.epoch).toBe(epoch);
      expect(members(pod)).toEqual(['a', 'b', 'c']);
    }
  });

  it('a leader keeps its lease when no other pod reaches more members', async () => {
    const all = [await start('a'), await start('b'), await start('c')];
    await pass(4_000);
    const [leader] = leadersOf(all) as [Pod];
    const [one, two] = all.filter((pod) => pod !== leader) as [Pod, Pod];
    const epoch = leader.elector.fencingToken;
    split([leader], [one, two]);
    split([one], [two]);
    await pass(40_000);
    expect(leader.elector.fencingToken).toBe(epoch);
    network.heal();
    network.kill(one.transport.self);
    network.kill(two.transport.self);
    for (const { elector, views } of [one, two]) {
      elector.close();
      views.stop();
    }
    await pass(40_000);
    expect(leader.elector.fencingToken).toBe(epoch);
    expect(leader.views.settled).toBe(true);
  });

  it('notifies listeners of each change, also when one of them throws', async () => {
    const { views, lines } = await start('a');
    let heard = 0;
    views.onChange(() => {
      throw new Error('bad listener');
    });
    views.onChange(() => (heard += 1));
    await pass(3_000);
    expect(heard).toBeGreaterThan(0);
    expect(lines.some((line) => line.includes('bad listener'))).toBe(true);
  });

  it('ignores a malformed view, and logs it', async () => {
    const { views, lines, transport } = await start('a');
    const body: FrameBody = {
      $case: 'view',
      value: {
        epoch: 1n,
        version: 1,
        settled: true,
        leader: undefined,
        members: [],
        answersHeartbeats: true,
        capacityEdition: 0,
      },
    };
    const link = await transport.dial({ address: 'a:1' });
    expect(views.frame(link, body)).toBe(true);
    expect(lines).toContain('Ignored a malformed view from a:1');
  });
});
