import assert from 'node:assert/strict';
import { CommandLine } from './command-line.js';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { milliseconds, since, START_MS, TAKE_OVER_MS } from './figures.js';
import type { LedgerEntry } from './firings.js';
import { type Hold, mostAtOnce } from './holds.js';
import type { Pod } from './pod.js';

/** Longer than the interval of the job of the demo, so that a firing falls due meanwhile. */
const PAUSE_MS = 2_100;

/** The used part of an entry of GET /jobs/all. */
interface JobStatus {
  readonly name: string;
  readonly paused?: { readonly since: string };
  readonly running?: object;
}

/** Pauses the job on one pod, runs it by request on another, and resumes it on a third. */
export async function jobIsPausedAndRunByHand(cluster: DemoCluster): Promise<string> {
  const [first, second, third] = cluster.pods;
  await first!.request('/jobs/pause', '');
  const pausedAt = performance.now();
  try {
    await onlyTheRequestedRunBegins(cluster, pausedAt);
  } finally {
    await third!.request('/jobs/resume', '');
  }
  assert.equal((await tickOn(third!)).paused, undefined);
  return (
    `${first!.name} paused it, and no firing began for ${milliseconds(performance.now() - pausedAt)}; the run that ` +
    `${second!.name} asked for was done meanwhile; ${third!.name} resumed it`
  );
}

async function onlyTheRequestedRunBegins({ pods, runs }: DemoCluster, pausedAt: number): Promise<void> {
  const [, second, third] = pods;
  const seen = await tickOn(third!);
  assert.ok(seen.paused !== undefined, `${third!.name} must see the pause: ${JSON.stringify(seen)}`);
  const { since: begin } = seen.paused;
  // A run that began before the pause goes on.
  await eventually(
    TAKE_OVER_MS,
    () => 'the run in progress ends',
    async () => (await tickOn(third!)).running === undefined,
  );
  const { id } = (await second!.request('/jobs/run', '')) as { id: string };
  let done: LedgerEntry | undefined;
  await eventually(
    TAKE_OVER_MS,
    () => 'the requested run is done',
    async () => {
      const entries = (await third!.request('/jobs?limit=10')) as LedgerEntry[];
      done = entries.find(({ event, requested }) => event === 'done' && requested?.id === id);
      return done !== undefined && performance.now() - pausedAt > PAUSE_MS;
    },
  );
  // The request runs a firing that was due before the pause and waited, if there is one.
  const { fireTime, attempt } = done!;
  const requested = runs.filter((run) => run.fireTime === fireTime && run.attempt === attempt);
  const others = runs.filter((run) => run.fireTime >= begin && run.fireTime !== fireTime);
  assert.equal(requested.length, 1, `the requested run of ${fireTime} must begin once`);
  assert.deepEqual(others, [], 'no other run may begin during the pause');
}

/** The state of the job of the demo, as a pod sees it. */
async function tickOn(pod: Pod): Promise<JobStatus> {
  const jobs = (await pod.request('/jobs/all')) as JobStatus[];
  const tick = jobs.find(({ name }) => name === 'tick');
  assert.ok(tick, `${pod.name} must know the job`);
  return tick;
}

/** What the command under the lock prints: it holds the lock until its standard input ends. */
const HOLDS = `const { HEDGE_FENCING_TOKEN: token } = process.env;
  console.log(JSON.stringify({ token, from: Date.now() }));
  process.stdin.resume().on('end', () => { console.log(JSON.stringify({ to: Date.now() })); });`;

/** Two commands of a shell under one lock: the second one waits for the first. */
export async function commandsWaitForEachOther(cluster: DemoCluster): Promise<string> {
  const { leader, token } = await cluster.agree(TAKE_OVER_MS);
  const started: CommandLine[] = [];
  const run = (name: string, args: readonly string[]): CommandLine => {
    const command = new CommandLine(cluster.env, args, name);
    started.push(command);
    return command;
  };
  const lock = ['-v', 'lock', 'tour/shell', '--', process.execPath, '-e', HOLDS];
  try {
    const start = performance.now();
    const asks = run('leader', ['leader', '-o', 'json']);
    const [first, second] = [run('first', lock), run('second', lock)];
    await eventually(
      START_MS,
      () => `one of two commands runs: ${first.errors}${second.errors}`,
      async () => first.lines.length + second.lines.length > 0,
    );
    const [holder, waiting] = first.lines.length > 0 ? [first, second] : [second, first];
    await eventually(
      START_MS,
      () => `the other one follows the leader: ${waiting.errors}`,
      async () => waiting.errors.includes('Leader of group'),
    );
    assert.deepEqual(waiting.lines, [], 'the other one must wait');
    holder.end();
    await holder.ended;
    const releasedAt = performance.now();
    waiting.end();
    const endings = await Promise.all([first.ended, second.ended]);
    assert.deepEqual(endings, [0, 0], `the exit codes: ${first.errors}${second.errors}`);
    const holds = [holder, waiting].map(({ lines, name }): Hold => {
      const [begin, end] = lines.map((line) => JSON.parse(line) as { token: string; from: number; to: number });
      return { pod: name, token: BigInt(begin!.token), from: begin!.from, to: end!.to, end: 'released' };
    });
    assert.equal(mostAtOnce(holds), 1, 'never two at once');
    assert.ok(holds[0]!.token < holds[1]!.token, 'tokens must rise');
    assert.equal(await asks.ended, 0, `leader failed: ${asks.errors}`);
    const shown = JSON.parse(asks.lines.join('')) as { token: string };
    assert.equal(shown.token, String(token), 'it must show the leader');
    return (
      `the first ran under the lock, and the second ${milliseconds(performance.now() - releasedAt)} after it had ended, ` +
      `with a higher token; a third one named the leader ${leader.name}; ${since(start)} in all`
    );
  } finally {
    for (const command of started) command.kill();
  }
}
