import assert from 'node:assert/strict';
import type { Console } from './console.js';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { milliseconds, since, START_MS, TAKE_OVER_MS } from './figures.js';
import { account, type LedgerEntry } from './firings.js';
import { Load } from './load.js';
import type { Ending, Pod } from './pod.js';
import { Steps } from './steps.js';
import { lockOutlivesItsHolder, semaphoreKeepsItsLimit, stoppedLeaderHandsOverAtOnce } from './tour-exclusion.js';
import { commandsWaitForEachOther, jobIsPausedAndRunByHand } from './tour-operations.js';
import { leadershipMovesOnce } from './tour-rollout.js';
import { lossOfTheOnlyCopyIsReported, secondCopySurvives } from './tour-spill.js';
import { blockedLeaderKeepsTheLead } from './tour-stall.js';
import { streamsReachAll, streamsReachTheLeader } from './tour-streams.js';
import { watchFollowsAllWrites } from './tour-watch.js';

/** The interval of the job of the demo. */
const JOB_EVERY_MS = 2_000;

/** The scripted tour of the README, with real processes. @returns whether every step passed. */
export async function tour(cluster: DemoCluster, console: Console, stop: AbortSignal): Promise<boolean> {
  const steps = new Steps(console, stop);
  const written: string[] = [];

  await steps.run('three pods elect one leader', async () => {
    const start = performance.now();
    for (let n = 0; n < 3; n += 1) await cluster.add();
    const { leader, token } = await cluster.agree(START_MS);
    return `${leader.name} leads with token ${token}; all three pods see the leader and each other, ${since(start)} after the start`;
  });

  await steps.run('put and get from every pod', async () => {
    const start = performance.now();
    for (const pod of cluster.pods) {
      await pod.request('/put', `tour/${pod.name} written by ${pod.name}`);
      written.push(`tour/${pod.name}`);
      for (const reader of cluster.pods) await assertReads(reader, `tour/${pod.name}`, `written by ${pod.name}`);
    }
    return `3 puts, each read at once from all 3 pods, in ${since(start)}`;
  });

  await steps.run('send from a follower to the leader', async () => {
    const { leader, followers } = await cluster.agree(TAKE_OVER_MS);
    const start = performance.now();
    const { reply } = (await followers[0]!.request('/send', 'hello')) as { reply: string };
    const took = since(start);
    const { self } = await leader.cluster();
    assert.equal(reply, `leader ${self.address} received: hello`);
    return `${followers[0]!.name} sent a message, and ${leader.name} replied in ${took}`;
  });

  await steps.run('broadcast to all', async () => {
    const { followers } = await cluster.agree(TAKE_OVER_MS);
    const start = performance.now();
    const { replies } = (await followers[0]!.request('/broadcast', 'hello')) as { replies: { value?: string }[] };
    const took = since(start);
    const answered = replies.filter(({ value }) => value?.endsWith('received: hello'));
    assert.equal(answered.length, 3, `3 replies expected: ${JSON.stringify(replies)}`);
    return `3 replies in ${took}`;
  });

  await steps.run('stream lines to the leader, which streams replies', () => streamsReachTheLeader(cluster));
  await steps.run('stream lines to all pods, which stream replies', () => streamsReachAll(cluster));

  await steps.run('call a leader-only method on every pod', async () => {
    const { leader, token } = await cluster.agree(TAKE_OVER_MS);
    const { address } = (await leader.cluster()).self;
    for (const pod of cluster.pods) {
      const answer = await pod.request('/leaderonly', 'hello');
      assert.deepEqual(answer, { ranOn: address, token: String(token), text: 'hello' });
    }
    return `${cluster.pods.length} calls, and all ran on ${leader.name}`;
  });

  await steps.run('pause a job, run it by request, and resume it, each on another pod', () =>
    jobIsPausedAndRunByHand(cluster),
  );

  await steps.run('npx nestjs-hedge lock in two shells at once', () => commandsWaitForEachOther(cluster));

  await steps.run('watch keys on one pod while others put, compare-and-set and delete, and the leader resigns', () =>
    watchFollowsAllWrites(cluster),
  );

  await steps.run('kill -9 the leader during a run of its job, while the others write', async () => {
    const before = await cluster.agree(TAKE_OVER_MS);
    const loads = before.followers.map(
      (pod) => new Load(pod, (pod, key) => pod.request('/put', `${key} value of ${key}`)),
    );
    await eachHas(loads, 20, -Infinity);
    await cluster.nextRun(TAKE_OVER_MS);
    const killedAt = performance.now();
    await before.leader.kill();
    await eachHas(loads, 20, killedAt);
    await Promise.all(loads.map((load) => load.stop()));
    const after = await cluster.agree(TAKE_OVER_MS);
    assert.ok(after.token > before.token, `token ${after.token} must be above ${before.token}`);
    written.push(...loads.flatMap((load) => load.acknowledged.map(({ key }) => key)));
    const firstAt = Math.min(...loads.flatMap((load) => startedAfter(load, killedAt)).map(({ endedAt }) => endedAt));
    const failed = loads.flatMap(({ failures }) => failures).length;
    return (
      `${before.leader.name} died, and ${after.leader.name} leads with a higher token; ` +
      `the first put succeeded ${milliseconds(firstAt - killedAt)} after the kill, ${failed} puts failed`
    );
  });

  await steps.run('read all acknowledged puts', async () => {
    const start = performance.now();
    await Promise.all(
      cluster.pods.map(async (pod) => {
        for (const key of written) {
          const value = key.startsWith('tour/') ? `written by ${key.slice('tour/'.length)}` : `value of ${key}`;
          await assertReads(pod, key, value);
        }
      }),
    );
    return `none was lost: ${written.length} acknowledged puts read from each of ${cluster.pods.length} pods in ${since(start)}`;
  });

  await steps.run('a fourth pod joins', async () => {
    const start = performance.now();
    const pod = await cluster.add();
    await cluster.agree(START_MS);
    const joined = since(start);
    await assertReads(pod, written[0]!, 'written by pod-1');
    const { replies } = (await pod.request('/broadcast', 'hello')) as { replies: { value?: string }[] };
    assert.equal(replies.filter(({ value }) => value !== undefined).length, cluster.pods.length);
    return `${pod.name} is in the view of all pods ${joined} after its start, reads the log and reaches ${replies.length} members`;
  });

  await steps.run('kill -9 the holder of a lock that others wait for', () => lockOutlivesItsHolder(cluster));

  await steps.run('compete for a semaphore; kill -9 a holder, then the leader', async () => {
    await cluster.add();
    return semaphoreKeepsItsLimit(cluster);
  });

  await steps.run('stop the leader gracefully while it and others wait for a permit', async () => {
    for (let n = 0; n < 2; n += 1) await cluster.add();
    return stoppedLeaderHandsOverAtOnce(cluster);
  });

  await steps.run('stop the leader gracefully while the others send', async () => {
    await cluster.add();
    const before = await cluster.agree(START_MS);
    const loads = before.followers.map((pod) => new Load(pod, (pod, key) => pod.request('/send', key)));
    await eachHas(loads, 20, -Infinity);
    const stoppedAt = performance.now();
    const ending = await before.leader.stop();
    await eachHas(loads, 20, performance.now());
    await Promise.all(loads.map((load) => load.stop()));
    const after = await cluster.agree(TAKE_OVER_MS);
    const failures = loads.flatMap((load) => load.failures);
    assert.deepEqual(failures, [], 'no send may fail');
    assertStopped([ending]);
    const sent = loads.flatMap((load) => startedAfter(load, stoppedAt));
    const slowest = Math.max(...sent.map(({ startedAt, endedAt }) => endedAt - startedAt));
    return `${after.leader.name} leads; ${sent.length} sends meanwhile, 0 failed, the slowest took ${milliseconds(slowest)}`;
  });

  await steps.run('spill data in one copy on three pods; kill -9 a pod that holds a part', async () => {
    await cluster.add();
    return lossOfTheOnlyCopyIsReported(cluster);
  });

  await steps.run('spill data in two copies; kill -9 a pod that holds a part', async () => {
    await cluster.add();
    return secondCopySurvives(cluster);
  });

  await steps.run('a rolling update of five pods while all send', () => {
    // The new version renews its leases on a worker thread, as the next step needs it.
    cluster.renewal = 'worker';
    return leadershipMovesOnce(cluster);
  });

  await steps.run("block the event loop of the leader for longer than a lease, with renewal: 'worker'", () =>
    blockedLeaderKeepsTheLead(cluster),
  );

  await steps.run('every firing of the job is accounted for', async () => {
    const { leader } = await cluster.agree(TAKE_OVER_MS);
    const runs = [...cluster.runs]; // copied before the ledger is read, because a claim is written before its run
    const entries = (await leader.request('/jobs?limit=10000')) as LedgerEntry[];
    const { firings, done, failed, lost, again, passedOver, requested } = account(entries, runs, JOB_EVERY_MS);
    assert.equal(requested, 1, 'the requested run must be recorded');
    assert.ok(lost > 0 && again > 0, `the run of the killed leader must be lost and repeated: ${lost}, ${again}`);
    return (
      `${firings} firings, one every ${milliseconds(JOB_EVERY_MS)}: ${done} done, ${failed} failed, ${passedOver} missed or ` +
      `skipped, and all are recorded; ${lost} runs lost with their pods, ${again} repeated, none ran twice`
    );
  });

  await steps.run('stop the remaining pods', async () => {
    const start = performance.now();
    const endings = await cluster.stop();
    assertStopped(endings);
    return `${endings.length} pods stopped in order in ${since(start)}`;
  });

  return steps.finish();
}

async function assertReads(pod: Pod, key: string, value: string): Promise<void> {
  const entry = (await pod.request(`/get?key=${encodeURIComponent(key)}`)) as { value: string };
  assert.equal(entry.value, value, `${pod.name} must read the value of ${key}`);
}

/** Asserts that the pods ended neither by SIGKILL nor by an error. */
function assertStopped(endings: readonly Ending[]): void {
  for (const ending of endings) assert.match(ending, /^(SIGTERM|exit code 0)$/);
}

/** Waits until each load has `count` acknowledged calls that started after a time. */
function eachHas(loads: readonly Load[], count: number, after: number): Promise<void> {
  return eventually(
    TAKE_OVER_MS,
    () => `each follower has ${count} more calls done; failures: ${loads.flatMap((load) => load.failures).join('; ')}`,
    async () => loads.every((load) => startedAfter(load, after).length >= count),
  );
}

function startedAfter(load: Load, time: number) {
  return load.acknowledged.filter(({ startedAt }) => startedAt > time);
}
