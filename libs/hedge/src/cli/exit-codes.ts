import { HedgeError, type HedgeErrorCode } from '../common/errors.js';

/** Every exit code of the command line, with its meaning. `docs/command-line.md` shows this table. */
export const EXIT_CODES = {
  done: [0, 'Done.'],
  failed: [1, 'Failed. The message says why.'],
  usage: [2, 'The command line is wrong. Nothing was done.'],
  notFound: [3, 'Not found: no value, no group, or no leader at the start.'],
  problems: [4, '`doctor` has found a problem.'],
  unavailable: [
    5,
    'The database, the leader or a pod does not answer. Try again later. Repeat `jobs run` with the `--id` that the message names.',
  ],
  unknown: [6, 'The outcome is unknown: the work may have been done.'],
  notFree: [124, '`lock`: the lock was not free within `--wait`. The command did not run.'],
  lost: [125, '`lock`: the lock was lost, so the command was ended.'],
  notExecutable: [126, '`lock`, `run-as-leader`: the command cannot be executed.'],
  noCommand: [127, '`lock`, `run-as-leader`: there is no such command.'],
  signal: [128, 'Plus n: signal n ended the command of `lock` or `run-as-leader`, or this program.'],
} as const satisfies Record<string, readonly [number, string]>;

export type Outcome = keyof typeof EXIT_CODES;

export function exitCode(outcome: Outcome): number {
  return EXIT_CODES[outcome][0];
}

/** An invalid command line. The message says what to change. */
export class UsageError extends Error {}

/** A failure with an exit code of its own. */
export class CommandFailed extends Error {
  constructor(
    readonly outcome: Outcome,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export function outcomeOf(error: unknown): Outcome {
  if (error instanceof CommandFailed) return error.outcome;
  if (error instanceof UsageError) return 'usage';
  if (!(error instanceof HedgeError)) return 'failed';
  if (error.code === 'INVALID_ARGUMENT' || error.code === 'INVALID_OPTIONS') return 'usage';
  if (error.code === 'OUTCOME_UNKNOWN') return 'unknown';
  if (error.code === 'DEADLINE_EXCEEDED') return error.details['started'] === true ? 'unknown' : 'unavailable';
  return NOTHING_DONE.has(error.code) ? 'unavailable' : 'failed';
}

/** Codes of calls that were not started, and may be made again. */
const NOTHING_DONE: ReadonlySet<HedgeErrorCode> = new Set([
  'NO_LEADER',
  'NOT_LEADER',
  'MEMBER_UNREACHABLE',
  'BACKEND_UNAVAILABLE',
  'OVERLOADED',
  'SHUTTING_DOWN',
]);
