import type { LogFields } from '../common/log-events.js';
import { MAX_COUNTED } from './fire-times.js';
import type { Job } from './job.js';
import type { LedgerRow } from './ledger.js';
import type { SchedulerReport } from './job-scheduler.messages.js';

/** The log line of a report; undefined for a normal event. */
export function describeReport(job: Job, report: SchedulerReport): string | undefined {
  if (report.type === 'recorded') return describeRow(job, report.row);
  if (report.type === 'still-running') {
    const then = job.catchUp ? 'this firing waits' : 'this firing is skipped';
    return `Job ${job.name} still runs while its firing of ${timeOf(report.fireTime)} is due; ${then}`;
  }
  if (report.type === 'runs-since-last-term') {
    return `Job ${job.name} of ${timeOf(report.fireTime)} has not ended since this pod lost the leadership; the next firings wait for it. Let the method end when its signal aborts`;
  }
  return `Job ${job.name} does not run: its ledger reaches up to ${timeOf(report.through)}, ${Math.round(report.byMs / 1_000)} s ahead of the clock of this pod. It runs again after that time. Correct the clocks of this pod and of earlier leaders. To run it sooner, delete the newest rows of its key in the log table, and restart this pod`;
}

/** The fields of the line of a report, if it is an event. */
export function fieldsOfReport({ name }: Job, report: SchedulerReport): LogFields<'warn'> | undefined {
  if (report.type !== 'recorded') return undefined;
  const { event, fireTime, attempt, token, pod, count } = report.row;
  const firing = { job: name, fireTime: timeOf(fireTime) };
  if (event === 'lost') return { event: 'job.lost', ...firing, attempt, token, pod };
  if (event === 'missed' || event === 'skipped') return { event: `job.${event}`, ...firing, count };
  return undefined;
}

function describeRow({ name, catchUp }: Job, row: LedgerRow): string | undefined {
  switch (row.event) {
    case 'scheduled':
    case 'claimed':
    case 'done':
    // The error was logged with its stack when it was thrown.
    case 'failed':
      return undefined;
    case 'lost':
      return `Job ${name} of ${timeOf(row.fireTime)}, attempt ${row.attempt}, was lost: ${row.pod} lost the leadership before it recorded the outcome`;
    case 'missed': {
      if (row.paused) return undefined;
      const hint = catchUp ? '' : '. Raise graceMs, or set catchUp, if late runs are useful';
      return `Job ${name} missed ${timesOf(row)}: no leader could run it in time${hint}`;
    }
    case 'skipped':
      return `Job ${name} skipped ${timesOf(row)}: the previous run had not ended`;
  }
  return undefined;
}

function timesOf({ fireTime, through, count }: LedgerRow): string {
  if (count === 1) return `the firing of ${timeOf(fireTime)}`;
  const times = count < MAX_COUNTED ? String(count) : `${count} or more`;
  return `${times} firings from ${timeOf(fireTime)} to ${timeOf(through)}`;
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
