import assert from 'node:assert/strict';
import { Contest, holdAt } from './contest.js';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { milliseconds, START_MS, TAKE_OVER_MS } from './figures.js';
import { firstWith, mostAtOnce } from './holds.js';

/** Longer than any pod that is to die in it lives. */
const FOR_LIFE_MS = 600_000;
const LIMIT = 3;
const OWN_CALLERS = 20;
/** `shutdown.drainMs` of the demo, which is the default: a stop that waits for callers takes all of it. */
const DRAIN_MS = 5_000;
const HOLD_MS = 100;
/** A dead pod's permits come back within two leases of the `local` preset; with time for a busy machine. */
const BACK_MS = 30_000;

/** A lock whose holder dies, and two pods that wait for it. */
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
  assert.equal(mostAtOnce(holds), 1, `never two at once: ${JSON.stringify(holds, withBigints)}`);
  assert.ok(holds[0]!.token < holds[1]!.token && holds[1]!.token < holds[2]!.token, 'tokens must rise');
  return (
    `${holder.name} held it and died, ${first!.pod} had it ${milliseconds(first!.from - killedAt)} later, ` +
    `${second!.pod} ${milliseconds(second!.from - first!.to)} after that one; tokens rose, never two at once`
  );
}

/** Pods that compete for a semaphore while one dies with a permit, and then the leader. */
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
    () => `all ${LIMIT} permits are held again by those that live; ${contest.failures.join('; ')}`,
    async () => back() !== undefined,
  );

  const leaderDiedAt = Date.now();
  await leader.kill();
  await contest.eachHas([survivor], 5, leaderDiedAt, BACK_MS);
  await Promise.all(stops.map((stop) => stop()));

  const { holds, failures } = contest;
  assert.equal(mostAtOnce(holds), LIMIT, `at most ${LIMIT} at once, and that many at times`);
  assert.deepEqual(failures, []);
  const next = Math.min(...holds.map(({ from }) => from).filter((from) => from > leaderDiedAt));
  const ended = (end: string): number => holds.filter((hold) => hold.end === end).length;
  return (
    `${holds.length} holds, never more than ${LIMIT} at once; the permit of ${victim.name} was back ` +
    `${milliseconds(back()! - victimDiedAt)} after its death, permits flowed ${milliseconds(next - leaderDiedAt)} ` +
    `after that of the leader; ${ended('killed')} died with their pods, ${ended('lost')} were lost`
  );
}

/** A leader that is told to stop while callers of its own, and one of another pod, wait for the only permit. */
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
  // Round trips behind them.
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
  assert.ok(tookMs < DRAIN_MS, `a stop must not wait for callers that gave up: ${milliseconds(tookMs)}`);
  const granted = (await outcomes).filter(({ status }) => status === 'fulfilled').length;
  assert.equal(granted, 0, 'no caller of a pod that stops gets the permit');
  assert.equal(mostAtOnce([await held!, await waiting]), 1, 'never two at once');
  await stopped;
  return `${OWN_CALLERS} callers of ${leader.name} gave up, and the next leader answered ${milliseconds(tookMs)} after SIGTERM`;
}

function withBigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
