import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller } from '@nestjs/common';
import {
  ClusterService,
  InspectionService,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  OnLeaderStream,
  type PodState,
  SemaphoreService,
} from 'nestjs-hedge';
import { PATIENT, Pods, until } from './apps.js';

@Controller()
class Handlers {
  @OnLeaderMessage('price')
  price(): void {}

  @OnBroadcast('flush')
  flush(): void {}

  @OnLeaderStream('import')
  async *import(): AsyncGenerator<number> {}
}

describe('an inspection', () => {
  const pods = new Pods({ controllers: [Handlers] }, { timing: PATIENT });
  beforeAll(() => pods.startThree());
  afterAll(() => pods.close());

  it('of any pod shows who it is, whom it follows and what it serves', async () => {
    const leader = pods.leader.get(ClusterService).self;
    const asking = pods.followers[0]!.get(InspectionService);
    const members = pods.leader.get(ClusterService).members();
    const states = await Promise.all(members.map((member) => asking.stateOf(member)));
    expect(states.map(({ member }) => member.address)).toEqual(members.map(({ address }) => address));
    for (const state of states) {
      const leads = state.member.incarnation === leader.incarnation;
      expect(state).toMatchObject({
        group: 'test',
        role: leads ? 'leader' : 'follower',
        leader: { member: leader, token: String(pods.leader.get(LeaderService).fencingToken) },
        view: { settled: true, members: members.map(({ address, confirmed }) => ({ address, confirmed })) },
        topics: { leader: ['price'], broadcast: ['flush'], leaderStream: ['import'], broadcastStream: [] },
        health: { ready: true, backendReachable: true, viewSettled: true, stopping: false },
        timing: PATIENT,
        spill: { memory: { usedBytes: 0 } },
      });
      expect(state.lease === undefined).toBe(!leads);
      expect(state.lease?.leftMs ?? 1).toBeGreaterThan(0);
      const age = Date.now() - Date.parse(state.leader!.since);
      expect(age).toBeGreaterThanOrEqual(0);
    }
  });

  it('is the same plain JSON on the pod itself and on another pod', async () => {
    const [asked, asking] = pods.followers;
    const own = asked!.get(InspectionService).state();
    expect(JSON.parse(JSON.stringify(own))).toEqual(own);
    const received = await asking!.get(InspectionService).stateOf(asked!.get(ClusterService).self);
    expect(Object.keys(received)).toEqual(Object.keys(own));
  });

  it('shows the locks of the pod, and the semaphores of the leader', async () => {
    const [pod, other] = pods.followers;
    const lock = await pod!.get(LockService).acquire('a');
    const waiting = pod!.get(LockService).acquire('a');
    const permit = await other!.get(SemaphoreService).get('s', { limit: 2 }).acquire({ permits: 2 });
    const more = other!.get(SemaphoreService).get('s', { limit: 2 }).acquire();
    const leader = (): PodState => pods.leader.get(InspectionService).state();
    await until(() => leader().semaphores[0]?.waiting === 1, 'the leader knows of the waiting caller');
    expect(leader()).toMatchObject({ semaphoreCount: 1, semaphores: [{ name: 's', limit: 2, held: 2, waiting: 1 }] });
    expect(pod!.get(InspectionService).state()).toMatchObject({
      lockCount: 1,
      locks: [{ name: 'a', token: String(lock.fencingToken), waiting: 1 }],
      semaphoreCount: 0,
    });
    await lock.release();
    await (await waiting).release();
    await permit.release();
    await (await more).release();
    expect(pod!.get(InspectionService).state().locks).toEqual([]);
  });

  it('counts all locks, and lists the first 500', async () => {
    const locks = pods.leader.get(LockService);
    const held = await Promise.all(Array.from({ length: 501 }, (_, i) => locks.acquire(`many/${i}`)));
    const state = await pods.followers[0]!.get(InspectionService).stateOf(pods.leader.get(ClusterService).self);
    expect([state.lockCount, state.locks.length]).toEqual([501, 500]);
    await Promise.all(held.map((lock) => lock.release()));
  });

  it('fails with MEMBER_UNREACHABLE for a pod that is gone', async () => {
    const gone = { address: '127.0.0.1:1', incarnation: 'gone' };
    const asked = pods.leader.get(InspectionService).stateOf(gone, { timeoutMs: 2_000 });
    await expect(asked).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('refuses options that do not exist', async () => {
    const { self } = pods.leader.get(ClusterService);
    const asked = pods.leader.get(InspectionService).stateOf(self, { timeout: 1 } as object);
    await expect(asked).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('requestResignation', () => {
  const pods = new Pods({}, { timing: PATIENT });
  beforeAll(() => pods.startThree());
  afterAll(() => pods.close());

  it('makes the leader step down, from any pod', async () => {
    const before = pods.leader;
    const token = before.get(LeaderService).fencingToken!;
    await pods.followers[0]!.get(LeaderService).requestResignation();
    await until(() => pods.apps.some((app) => (app.get(LeaderService).fencingToken ?? 0n) > token), 'the next leader');
    expect(before.get(LeaderService).isLeader()).toBe(false);
  });

  it('ends no other term than the one whose token is given', async () => {
    await until(() => pods.apps.every((app) => app.get(LeaderService).leader() !== undefined), 'all follow a leader');
    const leader = pods.leader.get(LeaderService);
    const token = leader.fencingToken!;
    for (const app of pods.apps) {
      const asked = app.get(LeaderService).requestResignation({ token: token - 1n });
      await expect(asked).rejects.toMatchObject({ code: 'CONFLICT' });
    }
    expect(leader.fencingToken).toBe(token);
    const asDigits = leader.requestResignation({ token: String(token) } as object);
    await expect(asDigits).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await pods.followers[0]!.get(LeaderService).requestResignation({ token });
    await until(() => !leader.isLeader(), 'the leader has stepped down');
    await until(() => pods.apps.some((app) => app.get(LeaderService).isLeader()), 'the next leader');
  });

  it('ends one term when two pods ask at once', async () => {
    await until(() => pods.apps.every((app) => app.get(LeaderService).leader() !== undefined), 'all follow a leader');
    const before = pods.leader;
    const token = before.get(LeaderService).fencingToken!;
    const terms = new Set<bigint>();
    const look = setInterval(() => {
      for (const app of pods.apps) terms.add(app.get(LeaderService).fencingToken ?? 0n);
    }, 1);
    const asked = await Promise.allSettled(pods.apps.map((app) => app.get(LeaderService).requestResignation()));
    await until(() => pods.apps.some((app) => (app.get(LeaderService).fencingToken ?? 0n) > token), 'the next leader');
    clearInterval(look);
    expect(asked.some(({ status }) => status === 'fulfilled')).toBe(true);
    expect([...terms].filter((term) => term > token)).toHaveLength(1);
  });
});
