import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import { messageOf } from '../../common/errors.js';
import { oneLine } from '../../common/line-logger.js';
import { timeOfToken, type LeaderState, type PodState } from '../../inspection/pod-state.js';
import { parseDuration } from '../connection.js';
import { bytes, duration, pairs, table } from '../output.js';
import { exitCode } from '../exit-codes.js';
import { Interrupted, unlessInterrupted, type CommandAdder, type CommandContext } from '../command.js';
import { whyNoAnswer, type MemberAnswer } from '../session.js';

/** Who leads, who is there, and the request to step down. */
export function addGroupCommands(program: Command, { add, run }: CommandAdder): void {
  add(
    program,
    'status',
    'Shows the leader, its lease and its pod in one look.',
    'status --group orders --file hedge.db',
  ).action((_options: unknown, command: Command) => run(command, status));

  add(program, 'members', 'Lists the members, as the leader sees them and as each answers.', 'members --group orders')
    .option('-w, --watch', 'lists them again after each change, until it is interrupted')
    .addOption(intervalOption())
    .action(({ watch = false, interval }: WatchOptions, command: Command) =>
      run(command, (context) => (watch ? watchMembers(context, interval) : showMembers(context)), {
        handlesSignals: watch,
      }),
    );

  add(program, 'leader', 'Shows who leads, since when and with which token.', 'leader --watch --group orders')
    .option('-w, --watch', 'shows each change, until it is interrupted')
    .addOption(intervalOption())
    .action(({ watch = false, interval }: WatchOptions, command: Command) =>
      run(command, (context) => (watch ? watchLeader(context, interval) : showLeader(context)), {
        handlesSignals: watch,
      }),
    );

  add(program, 'resign', 'Makes the leader step down, and shows the next one.', 'resign --group orders').action(
    (_options: unknown, command: Command) => run(command, resign),
  );
}

interface WatchOptions {
  readonly watch?: boolean;
  readonly interval: number;
}

function intervalOption(): Option {
  return new Option('--interval <duration>', 'how often --watch looks').argParser(parseDuration).default(1_000, '1s');
}

async function status({ session, output }: CommandContext): Promise<number> {
  const { member, token } = await session.leader();
  const { group } = session.settings;
  const since = timeOfToken(token);
  const lease = { group, database: session.backend.name, leader: member, token, since };
  const heading: [string, string][] = [
    ['group', group],
    ['database', session.backend.name],
    ['leader', `${member.address}, since ${since} (${ago(since)}), token ${token}`],
  ];
  let state: PodState;
  try {
    state = await session.stateOf(member);
  } catch (error) {
    const why = whyNoAnswer(error);
    output.print({ ...lease, error: why }, () =>
      pairs([...heading, ['problem', `The leader does not answer: ${why}`]]),
    );
    return exitCode('unavailable');
  }
  output.print({ ...lease, state }, () => pairs([...heading, ...describeLeader(state)]));
  return exitCode('done');
}

function describeLeader(state: PodState): [string, string][] {
  const { lease, timing, view, health, eventLoop, spill, version, process, topics } = state;
  const handled = [...topics.leader, ...topics.broadcast, ...topics.leaderStream, ...topics.broadcastStream].length;
  return [
    [
      'lease',
      lease === undefined ? 'not held any more' : `${duration(lease.leftMs)} left of ${duration(timing.leaseMs)}`,
    ],
    ['members', `${view?.members.length ?? 0}${view?.settled === true ? '' : ', not settled yet'}`],
    [
      'leader pod',
      `nestjs-hedge ${version}, Node ${process.node}, process ${process.pid} on ${process.host}, up ${uptime(state)}`,
    ],
    ['ready', health.ready ? 'yes' : health.stopping ? 'no, it is stopping' : 'no'],
    ['handlers', `${handled} topics`],
    ['locks', `${state.lockCount} held by the leader`],
    ['semaphores', `${state.semaphoreCount} in use`],
    [
      'event loop',
      `${eventLoop.delayMs} ms late, ${eventLoop.stalls} stalls, the longest ${eventLoop.longestStallMs} ms`,
    ],
    ['spilled data', `${bytes(spill.memory.usedBytes)} in memory, ${bytes(spill.disk.usedBytes)} on disk`],
  ];
}

async function showMembers({ session, output }: CommandContext): Promise<void> {
  const { leader, answers } = await session.members();
  const epoch = leader.view?.epoch;
  const settled = leader.view?.settled ?? false;
  const members = answers.map(({ member, confirmed, state, error }) => ({
    ...member,
    confirmed,
    leader: member.incarnation === leader.member.incarnation,
    ...(state === undefined ? { error: whyNoAnswer(error) } : { state }),
  }));
  output.print({ epoch, settled, members }, () =>
    table(
      ['ADDRESS', 'ROLE', 'VERSION', 'APP', 'UP', 'READY', 'LINKS', 'LOOP', 'PROBLEM'],
      answers.map((answer) => memberRow(answer, leader)),
    ),
  );
}

function memberRow({ member, confirmed, state, error }: MemberAnswer, leader: PodState): string[] {
  const role = member.incarnation === leader.member.incarnation ? 'leader' : 'follower';
  const silent = confirmed ? '' : 'the new leader has not heard it yet';
  if (state === undefined) return [member.address, role, '', '', '', '', '', '', whyNoAnswer(error)];
  return [
    member.address,
    role,
    state.version,
    state.appVersion ?? '-',
    uptime(state),
    state.health.ready ? 'yes' : 'no',
    String(state.linkCount),
    `${state.eventLoop.delayMs} ms`,
    silent,
  ];
}

async function watchMembers(context: CommandContext, everyMs: number): Promise<void> {
  const { session } = context;
  await watch(context, everyMs, async () => {
    const { view } = await session.stateOf((await session.leader()).member);
    return { seen: `${view?.epoch} ${view?.version} ${view?.settled}`, show: () => showMembers(context) };
  });
}

async function watchLeader(context: CommandContext, everyMs: number): Promise<void> {
  const { session, output } = context;
  await watch(context, everyMs, async () => {
    const { holder: member, token } = await session.lease();
    const leader = member && { member, token: String(token), since: timeOfToken(token) };
    return { seen: `${leader?.token}`, show: () => printLeader(output, leader) };
  });
}

/**
 * Looks again and again, and shows each look that differs from the last one, until it is interrupted. It follows no
 * announcements of the pods, so it misses none.
 */
async function watch(
  { interrupted, terminal }: CommandContext,
  everyMs: number,
  look: () => Promise<{ readonly seen: string; show(): unknown }>,
): Promise<void> {
  let last: string | undefined;
  try {
    for (; ; await unlessInterrupted(sleep(everyMs, undefined, { signal: interrupted }), interrupted)) {
      try {
        const { seen, show } = await unlessInterrupted(look(), interrupted);
        if (seen === last) continue;
        await unlessInterrupted(Promise.resolve(show()), interrupted);
        last = seen;
      } catch (error) {
        if (error instanceof Interrupted) throw error;
        // During a change of the leader there may be none for a while.
        const problem = messageOf(error);
        if (problem !== last) terminal.err(`nestjs-hedge: ${oneLine(problem)}\n`);
        last = problem;
      }
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
}

async function showLeader({ session, output }: CommandContext): Promise<void> {
  const { member, token } = await session.leader();
  printLeader(output, { member, token: String(token), since: timeOfToken(token) });
}

function printLeader(output: CommandContext['output'], leader: LeaderState | undefined): void {
  output.print(leader ?? { member: null }, () => [
    leader === undefined ? 'no leader' : `${leader.member.address}  token ${leader.token}  since ${leader.since}`,
  ]);
}

async function resign({ session, output }: CommandContext): Promise<void> {
  await session.leader();
  const { token } = await session.leaderOtherThan(undefined);
  await session.pod.leader.requestResignation({ token: BigInt(token) });
  printLeader(output, await session.leaderOtherThan(token));
}

function ago(since: string): string {
  return `${duration(Math.max(0, Date.now() - Date.parse(since)))} ago`;
}

function uptime({ at, process }: PodState): string {
  return duration(Date.parse(at) - Date.parse(process.startedAt));
}
