import type { Command } from 'commander';
import { messageOf } from '../../common/errors.js';
import type { LeaseRecord } from '../../database/lease-table.js';
import type { PodState } from '../../inspection/pod-state.js';
import { exitCode } from '../exit-codes.js';
import { duration, type Output } from '../output.js';
import type { CommandAdder, CommandContext } from '../command.js';
import { whyNoAnswer, type MemberAnswer, type Session } from '../session.js';

/** One result of the doctor. A problem has its fix in the message. */
interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'note' | 'problem';
  readonly message: string;
}

/** The calls from which the round trip is measured. */
const ROUND_TRIPS = 7;
/** The looks at the lease of the leader, and the pause between them: together about a renewal of the preset `lan`. */
const LEASE_LOOKS = 8;
const LOOK_PAUSE_MS = 350;
/** Clocks that differ by more make log lines and tokens hard to compare. Leases do not depend on it. */
const MOST_CLOCK_DIFFERENCE_MS = 1_000;

export function addDoctorCommand(program: Command, { add, run }: CommandAdder): void {
  add(
    program,
    'doctor',
    'Checks the database, the network and the pods, and names the fix of each problem.',
    'doctor --group orders --url postgres://app@db/app',
  ).action((_options: unknown, command: Command) => run(command, doctor, { ifClosed: databaseProblem }));
}

/** A database that cannot be opened: the error of the driver names the fix. */
function databaseProblem(error: unknown, output: Output): number {
  return print([problem('database', messageOf(error))], output);
}

async function doctor({ session, output }: CommandContext): Promise<number> {
  const findings: Finding[] = [];
  for await (const finding of examine(session)) findings.push(finding);
  return print(findings, output);
}

function print(findings: readonly Finding[], output: Output): number {
  output.print(findings, () =>
    findings.flatMap(({ check, level, message }) => {
      const [first = '', ...others] = message.split('\n');
      return [`${level.padEnd(8)} ${check.padEnd(11)} ${first}`, ...others.map((line) => `${' '.repeat(21)}${line}`)];
    }),
  );
  return exitCode(findings.some(({ level }) => level === 'problem') ? 'problems' : 'done');
}

/** The findings, from the database up to the pods. Later checks need earlier ones. */
async function* examine(session: Session): AsyncGenerator<Finding> {
  yield* examineDatabase(session);
  const record = await session.lease();
  if (record.holder === undefined) {
    yield noLeader(session, record);
    return;
  }
  const { address } = record.holder;
  let leader: PodState;
  try {
    leader = await session.stateOf(record.holder);
  } catch (error) {
    yield problem(
      'leader',
      `${address} holds the lease and does not answer this machine: ${whyNoAnswer(error)}. If it runs, open its port to this machine and to all pods, and check that \`address\` (or POD_IP) is one that others can dial. If it has died, another pod leads within a lease: run status.`,
    );
    return;
  }
  yield ok('leader', `${address}, token ${record.token}`);
  yield await examineLease(session, leader);
  const { answers } = await session.members();
  yield* examineMembers(leader, answers);
}

async function* examineDatabase(session: Session): AsyncGenerator<Finding> {
  const { backend, settings } = session;
  // The session has opened it, so tables and rights are there.
  yield ok('database', `${backend.name}: the tables and rights are there`);
  const trips: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i += 1) {
    const start = performance.now();
    await session.lease();
    trips.push(performance.now() - start);
  }
  const trip = trips.sort((a, b) => a - b)[Math.floor(ROUND_TRIPS / 2)] ?? 0;
  const { backendTimeoutMs } = settings.timing;
  const figure = `${trip.toFixed(1)} ms for a read of the lease (median of ${ROUND_TRIPS})`;
  yield trip * 4 < backendTimeoutMs
    ? ok('round trip', figure)
    : problem(
        'round trip',
        `${figure}, and timing.backendTimeoutMs is ${backendTimeoutMs}: a renewal has little time. Move the pods closer to the database, or use timing 'wan' on all pods.`,
      );
  if (backend.facts === undefined) return;
  const start = Date.now();
  const { version, clockMs, readOnly, pooled } = await backend.facts();
  const difference = clockMs - (start + Date.now()) / 2;
  yield ok('server', version);
  if (readOnly) {
    yield problem(
      'writes',
      'The server refuses writes: transaction_read_only is on, so no pod can lead. Connect to the primary, or set default_transaction_read_only to off for this role and database.',
    );
  } else {
    yield ok('writes', 'the server accepts writes');
  }
  yield pooled
    ? note('pooler', 'a pooler shares one session between transactions (transaction mode). Hedge supports that.')
    : ok('pooler', 'none, or one in session mode');
  yield clock('the database', difference);
}

function noLeader({ settings, backend }: Session, { token }: LeaseRecord): Finding {
  return problem(
    'leader',
    token === 0n
      ? `Group ${settings.group} has never had a leader in ${backend.name}. Check --group, the database and the tables against the options of the pods, and that a pod with mode 'member' runs.`
      : `Group ${settings.group} has no leader, and its lease is free. Start a pod; if one runs, its log says why it does not campaign.`,
  );
}

/** Looks several times, because the lease is shortest just before a renewal. */
async function examineLease(session: Session, first: PodState): Promise<Finding> {
  let least = first.lease?.leftMs ?? 0;
  for (let i = 1; i < LEASE_LOOKS; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_PAUSE_MS));
    const { lease } = await session.stateOf(first.member);
    if (lease === undefined) return note('lease', 'the leader has changed meanwhile. Run doctor again.');
    least = Math.min(least, lease.leftMs);
  }
  const { leaseMs, marginMs, renewDeadlineMs } = first.timing;
  const figure = `at least ${duration(Math.max(0, least))} of ${duration(leaseMs)} were left at ${LEASE_LOOKS} looks`;
  // A renewal is due after a third of the lease, and the pod steps down after `renewDeadlineMs`.
  const healthy = leaseMs - marginMs - (leaseMs / 3 + renewDeadlineMs) / 2;
  return least >= healthy
    ? ok('lease', figure)
    : problem(
        'lease',
        `${figure}, so renewals are late. See the log of ${first.member.address} for slow calls to the database or a stalled event loop (${first.eventLoop.stalls} stalls, the longest ${first.eventLoop.longestStallMs} ms). Raise timing.leaseMs, or set renewal: 'worker'.`,
      );
}

function* examineMembers(leader: PodState, answers: readonly MemberAnswer[]): Generator<Finding> {
  const silent = answers.filter(({ state }) => state === undefined);
  for (const { member, error } of silent) {
    yield problem(
      'members',
      `${member.address} does not answer this machine: ${whyNoAnswer(error)}. Open its port to this machine and to all pods, or update it.`,
    );
  }
  if (silent.length === 0) {
    yield ok('members', answers.length === 1 ? 'the only member answers' : `all ${answers.length} answer`);
  }
  if (leader.view?.settled === false) {
    yield note('view', 'the leader has not heard from all members yet. Run doctor again in a few seconds.');
  }
  const states = answers.flatMap(({ state }) => state ?? []);
  for (const state of states) yield* examineMember(state, leader);
  const versions = new Set(states.map(({ version }) => version));
  yield versions.size < 2
    ? ok('versions', `nestjs-hedge ${[...versions].join(', ')} on all that answer`)
    : note('versions', `${[...versions].join(', ')}. Two releases in a row work together; finish the rollout.`);
}

function* examineMember(state: PodState, leader: PodState): Generator<Finding> {
  const { member, health, timing, eventLoop } = state;
  const { address } = member;
  if (!health.ready && !health.stopping) {
    const why = health.backendReachable ? 'its view is not settled' : 'its database does not answer';
    yield problem('ready', `${address} is not ready: ${why}. See its log.`);
  }
  const others = Object.entries(timing).filter(([name, ms]) => leader.timing[name as keyof typeof timing] !== ms);
  if (others.length > 0) {
    const names = others.map(([name]) => name).join(', ');
    yield problem('timing', `${address} has another ${names} than the leader. Set the same \`timing\` on all pods.`);
  }
  if (eventLoop.stalls > 0) {
    yield note(
      'event loop',
      `the event loop of ${address} has stalled since its start: ${eventLoop.stalls} ${eventLoop.stalls === 1 ? 'stall' : 'stalls'}, the longest ${eventLoop.longestStallMs} ms. Its log names the causes.`,
    );
  }
  const difference = Date.parse(state.at) - Date.now();
  if (Math.abs(difference) > MOST_CLOCK_DIFFERENCE_MS) yield clock(address, difference);
}

function clock(whose: string, differenceMs: number): Finding {
  const size = duration(Math.abs(differenceMs));
  const where = differenceMs < 0 ? 'behind' : 'ahead of';
  return Math.abs(differenceMs) <= MOST_CLOCK_DIFFERENCE_MS
    ? ok('clock', `of ${whose}: ${size} ${where} this machine`)
    : problem(
        'clock',
        `The clock of ${whose} is ${size} ${where} this machine. Leases do not depend on it, but times of jobs and logs do. Synchronise the clocks (NTP) on both.`,
      );
}

function ok(check: string, message: string): Finding {
  return { check, level: 'ok', message };
}

function note(check: string, message: string): Finding {
  return { check, level: 'note', message };
}

function problem(check: string, message: string): Finding {
  return { check, level: 'problem', message };
}
