import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { HedgeReadiness, LeaderService, type Timing } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { BackendFaults, faulty, type BackendCall } from 'nestjs-hedge/testing';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

/** Announcements arrive eight times in a third of the lease, so that a busy machine delays none for so long. */
const TIMING: Timing = {
  leaseMs: 12_000,
  marginMs: 1_000,
  renewDeadlineMs: 9_000,
  retryMs: 100,
  backendTimeoutMs: 5_000,
  heartbeatMs: 500,
  heartbeatTimeoutMs: 3_000,
};
/** Renewals of the leader in which the calls are counted: two leases. */
const RENEWALS = 6;

describe('three idle pods', () => {
  const pods = new Pods({}, { timing: TIMING });
  /** The calls of each pod since it started. */
  const calls: Map<BackendCall, number>[] = [];
  const start = async (): Promise<void> => {
    const counts = new Map<BackendCall, number>();
    const faults = new BackendFaults();
    faults.each((call) => void counts.set(call, (counts.get(call) ?? 0) + 1));
    calls.push(counts);
    await pods.start({ backend: faulty(memory({ database: pods.database }), faults) });
  };
  const reset = (): void => calls.forEach((counts) => counts.clear());

  beforeAll(async () => {
    for (let pod = 0; pod < 3; pod += 1) await start();
    await until(
      () => pods.apps.every((app) => app.get(HedgeReadiness).check().viewSettled),
      'three pods know each other',
    );
  }, 60_000);
  afterAll(() => pods.close());

  it(`call the database for nothing but renewals, and reports of members that cannot reach the leader`, async () => {
    const leader = pods.apps.findIndex((app) => app.get(LeaderService).isLeader());
    const renewals = (): number => calls[leader]?.get('lease.renew') ?? 0;
    reset();
    // The first announcement to each follower comes with its next heartbeat.
    await until(() => renewals() >= 1, 'a renewal');
    reset();
    await until(() => renewals() >= RENEWALS, `${RENEWALS} renewals`, 60_000);
    const [own, ...others] = [calls[leader], ...calls.filter((_, pod) => pod !== leader)];
    expect(others.map((counts) => Object.fromEntries(counts))).toEqual([{}, {}]);
    const { 'log.latest': reports = 0, ...rest } = Object.fromEntries(own ?? []);
    expect(rest).toEqual({ 'lease.renew': RENEWALS });
    expect(reports).toBeLessThanOrEqual((RENEWALS * TIMING.leaseMs) / 3 / (4 * TIMING.heartbeatTimeoutMs) + 1);
  }, 90_000);

  it('read the lease once when their readiness is checked, at any rate', async () => {
    const follower = pods.apps.findIndex((app) => !app.get(LeaderService).isLeader());
    const readiness = pods.apps[follower]!.get(HedgeReadiness);
    const reads = (): number => calls[follower]?.get('lease.read') ?? 0;
    reset();
    await until(() => readiness.check().backendReachable && reads() === 1, 'a read', 60_000);
    for (let check = 0; check < 100; check += 1) expect(readiness.check().backendReachable).toBe(true);
    expect(reads()).toBe(1);
  }, 90_000);
});
