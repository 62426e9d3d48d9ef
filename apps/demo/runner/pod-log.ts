import type { Run } from './firings.js';

/** The loggers whose events are shown. Those of Nest and of the job are not shown, because there are too many. */
const SHOWN = new Set(['Hedge', 'Messages', 'Streams', 'Exclusion', 'Spill']);

/** A stall of the event loop, as its pod logged it. */
export interface Stall {
  readonly ms: number;
  /** With its cause, its cost and the fix. */
  readonly text: string;
}

/** The used part of a line of Nest's JSON logger. */
interface LogLine {
  readonly level: string;
  readonly context?: string;
  readonly message: unknown;
  readonly stack?: string;
}

/** The text to show for a line of a pod: its events and problems, but not the start of Nest. */
export function readableEvent(line: string): string | undefined {
  const log = parse(line);
  if (log === undefined) return line.trim() === '' ? undefined : line;
  const text = typeof log.message === 'string' ? log.message : JSON.stringify(log.message);
  if (log.level !== 'log')
    return `${log.level.toUpperCase()} ${text}${log.stack === undefined ? '' : `\n${log.stack}`}`;
  return SHOWN.has(log.context ?? '') ? text : undefined;
}

const BAR_LENGTH = 20;

/** The progress of a pod with spilled data, as a bar. */
export function progressOf(line: string): string | undefined {
  const { context, message } = parse(line) ?? {};
  const [, what, percent] = (context === 'Spill' && /^(.+): (\d+) %$/.exec(String(message))) || [];
  if (what === undefined) return undefined;
  const done = Math.round((Number(percent) / 100) * BAR_LENGTH);
  return `${what} [${'#'.repeat(done)}${'-'.repeat(BAR_LENGTH - done)}] ${percent} %`;
}

/** The run of the job in a line of a pod. */
export function runOf(line: string): Run | undefined {
  const { context, message } = parse(line) ?? {};
  const [, fireTime, attempt] = (context === 'Jobs' && /^tick (\S+) attempt (\d+)$/.exec(String(message))) || [];
  return fireTime === undefined ? undefined : { fireTime, attempt: Number(attempt) };
}

/** The line of a pod whose event loop stalled, and the length of the stall. */
export function stallOf(line: string): Stall | undefined {
  const { context, message } = parse(line) ?? {};
  const [text, ms] = (context === 'Hedge' && /^The event loop stalled for (\d+) ms\..*/.exec(String(message))) || [];
  return text === undefined ? undefined : { ms: Number(ms), text };
}

/** The token in the line of a pod that begins to lead. */
export function termOf(line: string): bigint | undefined {
  const { context, message } = parse(line) ?? {};
  const [, token] = (context === 'Hedge' && /^Leader of group \S+, token (\d+)$/.exec(String(message))) || [];
  return token === undefined ? undefined : BigInt(token);
}

/** The line of a leader that lost its lease without handing it over. */
export function lossOf(line: string): string | undefined {
  const { context, level, message } = parse(line) ?? {};
  const text = String(message);
  return context === 'Hedge' && level === 'warn' && text.startsWith('This pod is no longer the leader')
    ? text
    : undefined;
}

function parse(line: string): LogLine | undefined {
  try {
    const log: unknown = JSON.parse(line);
    return typeof log === 'object' && log !== null && 'level' in log && 'message' in log ? (log as LogLine) : undefined;
  } catch {
    return undefined; // not a line of the logger, for example the output of Node at a crash
  }
}
