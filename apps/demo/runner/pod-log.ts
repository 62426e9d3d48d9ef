import type { Run } from './firings.js';

/** Whose events are shown: Nest's own and the job's, which would drown them, are not. */
const SHOWN = new Set(['Hedge', 'Messages', 'Streams', 'Exclusion', 'Spill']);

/** A line of Nest's JSON logger, as far as it is read here. */
interface LogLine {
  readonly level: string;
  readonly context?: string;
  readonly message: unknown;
  readonly stack?: string;
}

/** What is shown of a pod's output: its own events and all that went wrong, not how Nest starts. */
export function readableEvent(line: string): string | undefined {
  const log = parse(line);
  if (log === undefined) return line.trim() === '' ? undefined : line;
  const text = typeof log.message === 'string' ? log.message : JSON.stringify(log.message);
  if (log.level !== 'log')
    return `${log.level.toUpperCase()} ${text}${log.stack === undefined ? '' : `\n${log.stack}`}`;
  return SHOWN.has(log.context ?? '') ? text : undefined;
}

const BAR_LENGTH = 20;

/** How far a pod is with spilled data, as a bar. */
export function progressOf(line: string): string | undefined {
  const { context, message } = parse(line) ?? {};
  const [, what, percent] = (context === 'Spill' && /^(.+): (\d+) %$/.exec(String(message))) || [];
  if (what === undefined) return undefined;
  const done = Math.round((Number(percent) / 100) * BAR_LENGTH);
  return `${what} [${'#'.repeat(done)}${'-'.repeat(BAR_LENGTH - done)}] ${percent} %`;
}

/** The run of the job that a pod tells of. */
export function runOf(line: string): Run | undefined {
  const { context, message } = parse(line) ?? {};
  const [, fireTime, attempt] = (context === 'Jobs' && /^tick (\S+) attempt (\d+)$/.exec(String(message))) || [];
  return fireTime === undefined ? undefined : { fireTime, attempt: Number(attempt) };
}

function parse(line: string): LogLine | undefined {
  try {
    const log: unknown = JSON.parse(line);
    return typeof log === 'object' && log !== null && 'level' in log && 'message' in log ? (log as LogLine) : undefined;
  } catch {
    return undefined; // not of the logger: what Node says of a crash
  }
}
