import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Code, type CodeName } from './common/status.js';
import type { SpannerEmulatorOptions } from './emulator.js';
import type { FaultRule } from './faults.js';

export const USAGE = `Usage: hedge-spanner-emulator [options]

  --port N               port to listen on, 0 for a free one (default 9010)
  --host ADDRESS         address to listen on (default 127.0.0.1)
  --project ID           project, instance and database to create (default p, i, d)
  --instance ID
  --database ID
  --ddl FILE             DDL statements for the database, separated by semicolons

Faults, for tests of retries:
  --abort-rate R         answer so many (0 to 1) statements and commits ABORTED
  --abort-retry-ms N     the RetryInfo of those, or "none" (default 2)
  --latency-ms N[..M]    delay every call
  --fail METHOD:CODE:WHEN[:RATE]   WHEN is before, after or during; may be repeated
  --equal-commit-timestamps        give concurrent commits one timestamp where Spanner could
  --session-loss-rate R  let so many calls find their session gone
  --seed N               repeat the draws of an earlier run

  --help                 print this

To pause the server, stop its process (SIGSTOP) and continue it (SIGCONT).
`;

/** An invalid command line. The message is for the user. */
export class UsageError extends Error {}

const OPTIONS = {
  port: { type: 'string' },
  host: { type: 'string' },
  project: { type: 'string' },
  instance: { type: 'string' },
  database: { type: 'string' },
  ddl: { type: 'string' },
  'abort-rate': { type: 'string' },
  'abort-retry-ms': { type: 'string' },
  'latency-ms': { type: 'string' },
  fail: { type: 'string', multiple: true },
  'equal-commit-timestamps': { type: 'boolean' },
  'session-loss-rate': { type: 'string' },
  seed: { type: 'string' },
  help: { type: 'boolean' },
} as const;

const parseNumber = (flag: string, text: string | undefined, most = Infinity): number | undefined => {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= most)) {
    throw new UsageError(`--${flag} must be a number from 0${most === Infinity ? '' : ` to ${most}`}, not "${text}".`);
  }
  return value;
};

const parsePort = (text: string | undefined): number | undefined => {
  const port = parseNumber('port', text, 65_535);
  if (port !== undefined && !Number.isInteger(port)) throw new UsageError(`--port must be an integer, not "${text}".`);
  return port;
};

const parseLatency = (text: string | undefined): number | readonly [number, number] | undefined => {
  if (!text?.includes('..')) return parseNumber('latency-ms', text);
  const [low, high] = text.split('..').map((part) => parseNumber('latency-ms', part)!);
  if (low! > high!) throw new UsageError(`--latency-ms must go from the lower number to the higher, not "${text}".`);
  return [low!, high!];
};

const parseRule = (text: string): FaultRule => {
  const [method = '', code = '', when = '', rate] = text.split(':');
  if (method === '' || !Object.hasOwn(Code, code) || !['before', 'after', 'during'].includes(when)) {
    throw new UsageError(
      `--fail must be METHOD:CODE:WHEN[:RATE], such as Commit:UNAVAILABLE:after:0.1, not "${text}".`,
    );
  }
  return { method, code: code as CodeName, when: when as FaultRule['when'], rate: parseNumber('fail', rate, 1) };
};

const parseFlags = (args: readonly string[]) => {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
};

const readDdl = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`Cannot read the DDL file: ${(error as Error).message}`);
  }
};

/** The options of the command line, or `help`. Throws UsageError. */
export const parseCommandLine = (args: readonly string[]): SpannerEmulatorOptions | 'help' => {
  const flags = parseFlags(args);
  if (flags.help) return 'help';
  const { host, project, instance, database } = flags;
  const retry = flags['abort-retry-ms'];
  return {
    host,
    project,
    instance,
    database,
    port: parsePort(flags.port),
    ddl: flags.ddl === undefined ? undefined : readDdl(flags.ddl),
    faults: {
      abortRate: parseNumber('abort-rate', flags['abort-rate'], 1),
      abortRetryDelayMs: retry === 'none' ? null : parseNumber('abort-retry-ms', retry),
      latencyMs: parseLatency(flags['latency-ms']),
      rules: (flags.fail ?? []).map(parseRule),
      equalCommitTimestamps: flags['equal-commit-timestamps'],
      sessionLossRate: parseNumber('session-loss-rate', flags['session-loss-rate'], 1),
      seed: parseNumber('seed', flags.seed),
    },
  };
};
