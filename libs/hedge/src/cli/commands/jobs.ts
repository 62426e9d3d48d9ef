import { randomUUID } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import { HedgeError, type HedgeErrorCode } from '../../common/errors.js';
import type { JobEntry } from '../../jobs/ledger.js';
import type { CommandAdder, CommandContext } from '../command.js';
import { limitOption } from '../connection.js';
import { duration, table } from '../output.js';

interface ReasonOption {
  readonly reason?: string;
}

interface RunOptions extends ReasonOption {
  readonly id?: string;
}

/** The commands that change a job, each with the word for a changed job. */
const CHANGES = { pause: 'paused', resume: 'resumed', remove: 'removed' } as const;

type Change = keyof typeof CHANGES;

export function addJobCommands(program: Command, { add, run }: CommandAdder): void {
  const jobs = program.command('jobs').description('Looks at the jobs of the group, runs and pauses them.');

  add(jobs, 'ls', 'Lists the jobs with their next and last firings.', 'ls').action(
    (_options: unknown, command: Command) => run(command, listJobs),
  );

  add(jobs, 'history <name>', 'Lists the firings of a job, the newest first.', "history 'nightly report' --limit 10")
    .addOption(limitOption('entries', 100))
    .action((name: string, { limit }: { limit: number }, command: Command) =>
      run(command, (context) => showHistory(context, name, limit)),
    );

  const addChange = (syntax: string, description: string, example: string): Command =>
    add(jobs, syntax, description, example).option('--reason <text>', 'for the people who see the job');

  addChange(
    'run <name>',
    'Runs a job now, on the leader. Ends when the run has begun.',
    "run 'nightly report' --id monday --reason 'the report of Monday was wrong'",
  )
    .option('--id <id>', 'names the run: repeated with the same id within an hour, the command begins no second run')
    .action((name: string, options: RunOptions, command: Command) =>
      run(command, (context) => runJob(context, name, options)),
    );

  const changes: readonly [Change, string, string][] = [
    ['pause', 'Pauses a job on all pods, until it is resumed.', "'nightly report' --reason 'the warehouse moves'"],
    ['resume', 'Ends the pause of a job.', "'nightly report'"],
    ['remove', 'Removes a job that was added at run time. Its history stays.', "'report of tenant 17'"],
  ];
  for (const [change, description, example] of changes) {
    addChange(`${change} <name>`, description, `${change} ${example}`).action(
      (name: string, { reason }: ReasonOption, command: Command) =>
        run(command, (context) => changeJob(context, change, name, reason)),
    );
  }
}

async function listJobs({ session, output }: CommandContext): Promise<void> {
  await session.leader();
  const jobs = await session.pod.jobs.list({ nextTimes: 1, lastFirings: 1 });
  output.print(jobs, () =>
    table(
      ['JOB', 'SCHEDULE', 'NEXT', 'LAST', 'STATE'],
      jobs.map(({ name, schedule, nextTimes, lastFirings, paused, running }) => [
        name,
        schedule,
        nextTimes[0]?.toISOString() ?? '-',
        lastFirings[0] === undefined ? '-' : `${lastFirings[0].event} ${lastFirings[0].fireTime.toISOString()}`,
        running === undefined ? (paused === undefined ? '' : `paused by ${paused.by}`) : 'runs',
      ]),
    ),
  );
}

async function showHistory({ session, output }: CommandContext, name: string, limit: number): Promise<void> {
  const entries = await session.pod.jobs.history(name, { limit });
  output.print(entries, () =>
    table(
      ['FIRING', 'EVENT', 'ATTEMPT', 'POD', 'TOOK', 'DETAILS'],
      entries.map((entry) => historyRow(entry)),
    ),
  );
}

function historyRow({ fireTime, event, attempt, pod, durationMs, error, count, requested }: JobEntry): string[] {
  const many = count > 1 ? `${count} firings` : '';
  const request = requested === undefined ? '' : requestText(requested);
  return [
    fireTime.toISOString(),
    event,
    String(attempt),
    pod,
    durationMs === undefined ? '' : duration(durationMs),
    [error ?? '', many, request].filter((text) => text !== '').join(', '),
  ];
}

function requestText({ by, id, reason }: NonNullable<JobEntry['requested']>): string {
  return `requested by ${by} as ${id}${reason === undefined ? '' : `: ${reason}`}`;
}

async function runJob({ session, output }: CommandContext, name: string, options: RunOptions): Promise<void> {
  await session.leader();
  const { id = randomUUID(), reason } = options;
  try {
    await session.pod.jobs.runNow(name, { by: person(), reason, id });
  } catch (error) {
    throw withId(error, id);
  }
  output.print({ name, id }, () => [`run ${id} of job ${name} has begun`]);
}

/** Codes after which the run may have begun: see `JobsService.runNow`. */
const MAY_HAVE_BEGUN: ReadonlySet<HedgeErrorCode> = new Set([
  'DEADLINE_EXCEEDED',
  'OUTCOME_UNKNOWN',
  'BACKEND_UNAVAILABLE',
]);

/** Adds to such an error how to repeat the command. */
function withId(error: unknown, id: string): unknown {
  if (!(error instanceof HedgeError) || !MAY_HAVE_BEGUN.has(error.code)) return error;
  const message = `${error.message.replace(/\.$/, '')}. Repeat the command with --id ${id}: it begins no second run.`;
  return new HedgeError(error.code, message, { details: error.details, cause: error });
}

async function changeJob(
  { session, output }: CommandContext,
  change: Change,
  name: string,
  reason: string | undefined,
): Promise<void> {
  await session.leader();
  await session.pod.jobs[change](name, { by: person(), reason });
  const json = change === 'remove' ? { name, removed: true } : { name, paused: change === 'pause' };
  output.print(json, () => [`job ${name} is ${CHANGES[change]}`]);
}

/** A client has no address, so changes are recorded under the user and the machine. */
function person(): string {
  return `${userInfo().username}@${hostname()}`;
}
