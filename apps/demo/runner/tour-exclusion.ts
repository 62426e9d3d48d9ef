import assert from 'node:assert/strict';
import { Contest, holdAt } from './contest.js';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { milliseconds, START_MS, TAKE_OVER_MS } from './figures.js';
import { firstWith, mostAtOnce } from './holds.js';

/** Longer than the life of any pod that is killed during the hold. */
const FOR_LIFE_MS = 600_000;
const LIMIT = 3;
const OWN_CALLERS = 20;
/** `shutdown.drainMs` of the demo, which is the default. A stop that waits for its callers takes this whole time. */
const DRAIN_MS = 5_000;
const HOLD_MS = 100;
/** The permits of a dead pod become free within two leases of the `local` preset. With a reserve for a busy machine. */
const BACK_MS = 30_000;

/** Kills the holder of a lock while two pods wait for it. */
export async function lockOutlivesItsHolder(cluster: DemoCluster): Promise<string> {
  const { leader, followers } = await cluster.agree(START_MS);
  const [holder, other] = [followers[0]!, followers[1]!];
  let last: ReturnType<typeof holdAt> | undefined;
  await new Promise<void>((resolve, reject) => {
    last = holdAt(holder, '/lock', `tour ${FOR_LIFE_MS}`, resolve);
    last.catch(reject);
  });
  const waiting = [leader, other].map((pod) => holdAt(pod, '/lock', `tour ${HOLD_MS}`));
  const killedAt = Date.now();
  await holder.kill();
  const [first, second] = (await Promise.all(waiting)).sort((a, b) => a.from - b.from);
  const holds = [await last!, first!, second!];
  assert.equal(mostAtOnce(holds), 1, `two pods must never hold it at once: ${JSON.stringify(holds, withBigints)}`);
  assert.ok(holds[0]!.token < holds[1]!.token && holds[1]!.token < holds[2]!.token, 'tokens must rise');
  return (
    `${holder.name} held it and died; ${first!.pod} acquired it ${milliseconds(first!.from - killedAt)} later, ` +
    `${second!.pod} ${milliseconds(second!.from - first!.to)} after the release; tokens rose, and no two pods held it at once`
  );
}

/** Pods compete for a semaphore. Kills one that holds a permit, and then the leader. */
export async function semaphoreKeepsItsLimit(cluster: DemoCluster): Promise<string> {
  const { leader, followers } = await cluster.agree(START_MS);
  const [victim, survivor] = [followers[0]!, followers[1]!];
  const contest = new Contest(LIMIT);
  const stopVictim = contest.compete(victim, HOLD_MS);
  const stops = [leader, leader, survivor, survivor].map((pod) => contest.compete(pod, HOLD_MS));
  await contest.eachHas([leader, victim, survivor], 5, 0, TAKE_OVER_MS);

  await stopVictim();
  await contest.begin(victim, FOR_LIFE_MS);
  const victimDiedAt = Date.now();
  await victim.kill();
  const back = () =>
    firstWith(
      LIMIT,
      contest.holds.filter(({ from }) => from > victimDiedAt),
    );
  await eventually(
    BACK_MS,
    () => `the living pods hold all ${LIMIT} permits again; ${contest.failures.join('; ')}`,
    async () => back() !== undefined,
  );

  const leaderDiedAt = Date.now();
  await leader.kill();
  await contest.eachHas([survivor], 5, leaderDiedAt, BACK_MS);
  await Promise.all(stops.map((stop) => stop()));

  const { holds, failures } = contest;
  assert.equal(mostAtOnce(holds), LIMIT, `the highest number of simultaneous holds must be ${LIMIT}`);
  assert.deepEqual(failures, []);
  const next = Math.min(...holds.map(({ from }) => from).filter((from) => from > leaderDiedAt));
  const ended = (end: string): number => holds.filter((hold) => hold.end === end).length;
  return (
    `${holds.length} holds, never more than ${LIMIT} at once; the permit of ${victim.name} was free ` +
    `${milliseconds(back()! - victimDiedAt)} after its death; the first grant after the death of the leader took ` +
    `${milliseconds(next - leaderDiedAt)}; ${ended('killed')} holds died with their pods, ${ended('lost')} were lost`
  );
}

/** Stops the leader while its own callers, and one of another pod, wait for the only permit. */
export async function stoppedLeaderHandsOverAtOnce(cluster: DemoCluster): Promise<string> {
  const { leader, followers } = await cluster.agree(START_MS);
  const [holder, other] = [followers[0]!, followers[1]!];
  const { address } = (await leader.cluster()).self;
  let held: ReturnType<typeof holdAt> | undefined;
  await new Promise<void>((resolve, reject) => {
    held = holdAt(holder, '/semaphore', `stopping 1 ${2 * DRAIN_MS}`, resolve);
    held.catch(reject);
  });
  const own = Array.from({ length: OWN_CALLERS }, () => holdAt(leader, '/semaphore', `stopping 1 ${HOLD_MS}`));
  const outcomes = Promise.allSettled(own);
  const waiting = holdAt(other, '/semaphore', `stopping 1 ${HOLD_MS}`);
  // A round trip after each of them, so that they have arrived.
  for (const pod of [leader, other]) await pod.request('/send', 'hello');
  const stoppedAt = performance.now();
  const stopped = leader.stop();
  await eventually(
    TAKE_OVER_MS,
    () => 'the next leader answers',
    async () => {
      const { reply } = (await other.request('/send', 'hello')) as { reply: string };
      return !reply.startsWith(`leader ${address} `);
    },
  );
  const tookMs = performance.now() - stoppedAt;
  assert.ok(tookMs < DRAIN_MS, `a stop must not wait for callers of its own pod: ${milliseconds(tookMs)}`);
  const granted = (await outcomes).filter(({ status }) => status === 'fulfilled').length;
  assert.equal(granted, 0, 'no caller of a stopping pod may acquire the permit');
  assert.equal(mostAtOnce([await held!, await waiting]), 1, 'two pods must never hold it at once');
  await stopped;
  return `${OWN_CALLERS} waiting callers of ${leader.name} failed, and the next leader answered ${milliseconds(tookMs)} after SIGTERM`;
}

function withBigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
