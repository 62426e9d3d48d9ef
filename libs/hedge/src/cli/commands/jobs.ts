import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import type { JobEntry } from '../../jobs/ledger.js';
import type { CommandAdder, CommandContext } from '../command.js';
import { limitOption } from '../connection.js';
import { duration, table } from '../output.js';

interface ReasonOption {
  readonly reason?: string;
}

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

  const change = (verb: 'run' | 'pause' | 'resume', description: string): void => {
    add(jobs, `${verb} <name>`, description, `${verb} 'nightly report' --reason 'the warehouse moves'`)
      .option('--reason <text>', 'for the people who see the job')
      .action((name: string, { reason }: ReasonOption, command: Command) =>
        run(command, (context) => changeJob(context, verb, name, reason)),
      );
  };
  change('run', 'Runs a job now, on the leader. Ends when the run has begun.');
  change('pause', 'Pauses a job on all pods, until it is resumed.');
  change('resume', 'Ends the pause of a job.');
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
  const by = requested === undefined ? '' : `requested by ${requested.by}`;
  return [
    fireTime.toISOString(),
    event,
    String(attempt),
    pod,
    durationMs === undefined ? '' : duration(durationMs),
    [error ?? '', many, by].filter((text) => text !== '').join(', '),
  ];
}

async function changeJob(
  { session, output }: CommandContext,
  verb: 'run' | 'pause' | 'resume',
  name: string,
  reason: string | undefined,
): Promise<void> {
  await session.leader();
  const { jobs } = session.pod;
  // A client has no address.
  const options = { by: `${userInfo().username}@${hostname()}`, reason };
  if (verb === 'run') {
    const { id } = await jobs.runNow(name, options);
    return output.print({ name, id }, () => [`job ${name} runs, request ${id}`]);
  }
  await jobs[verb](name, options);
  output.print({ name, paused: verb === 'pause' }, () => [`job ${name} is ${verb === 'pause' ? 'paused' : 'resumed'}`]);
}
