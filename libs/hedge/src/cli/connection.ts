import { existsSync, readFileSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { HedgeError, messageOf } from '../common/errors.js';
import type { BackendFactory } from '../database/backend.js';
import { resolveOptions } from '../nest/validate.js';
import type { PodSettings } from '../pod/settings.js';
import { UsageError } from './exit-codes.js';
import type { Format } from './output.js';

/** The options that all commands have, as the command line and the environment give them. */
export interface ConnectionOptions {
  readonly group?: string;
  readonly backend?: string;
  readonly file?: string;
  readonly url?: string;
  readonly database?: string;
  readonly schema?: string;
  readonly lockTable?: string;
  readonly logTable?: string;
  readonly kvPrefix?: string;
  readonly timing: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsServerName?: string;
  readonly timeout: number;
  readonly output: Format;
  readonly verbose?: boolean;
}

const BACKENDS = ['sqlite', 'postgres', 'spanner'] as const;

/** Which option belongs to which database. */
const PLACES = { file: 'sqlite', url: 'postgres', database: 'spanner' } as const;

/** The smallest that a pod may have. A client places no spilled data. */
const SPILL_MEMORY = '4MB';

/** Adds the options of all commands. The names of the variables are those of the demo. */
export function addConnectionOptions(program: Command): Command {
  const options = [
    new Option('-g, --group <name>', 'the group of pods').env('HEDGE_GROUP'),
    new Option('-b, --backend <name>', 'the database; by default the one of --file, --url or --database')
      .choices(BACKENDS)
      .env('HEDGE_BACKEND'),
    new Option('--file <path>', 'the file of SQLite').env('HEDGE_SQLITE_FILE'),
    new Option('--url <url>', 'postgres://USER:PASSWORD@HOST:PORT/DATABASE').env('DATABASE_URL'),
    new Option('--database <name>', 'projects/P/instances/I/databases/D of Spanner').env('HEDGE_SPANNER_DATABASE'),
    new Option('--schema <name>', 'the schema of PostgreSQL (default: hedge)').env('HEDGE_SCHEMA'),
    new Option('--lock-table <name>', 'the table of leases (default: locktable)').env('HEDGE_LOCK_TABLE'),
    new Option('--log-table <name>', 'the table of keys and values (default: logtable)').env('HEDGE_LOG_TABLE'),
    new Option('--kv-prefix <text>', 'the option kv.prefix of the pods').env('HEDGE_KV_PREFIX'),
    new Option('--timing <preset>', 'the durations of locks: local, lan or wan')
      .choices(['local', 'lan', 'wan'])
      .default('lan')
      .env('HEDGE_TIMING'),
    new Option('--tls-ca <file>', 'certificates of the authorities, if the pods use TLS').env('HEDGE_TLS_CA'),
    new Option('--tls-cert <file>', 'the certificate of this client').env('HEDGE_TLS_CERT'),
    new Option('--tls-key <file>', 'its private key').env('HEDGE_TLS_KEY'),
    new Option('--tls-server-name <name>', 'the name in the certificates of the pods').env('HEDGE_TLS_SERVER_NAME'),
    new Option('--timeout <duration>', 'how long to wait for answers, as 5s or 500ms')
      .argParser(parseDuration)
      .default(10_000, '10s'),
    new Option('-o, --output <format>', 'the form of the output').choices(['text', 'json']).default('text'),
    new Option('-v, --verbose', 'shows the log of the client on the standard error'),
  ];
  for (const option of options) program.addOption(option);
  return program;
}

/** @throws UsageError */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null) throw new UsageError(`"${text}" is no duration. Give one, as 500ms, 5s, 2m or 1h.`);
  const [, count = '0', unit = 's'] = match;
  return Math.round(Number(count) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit as 'ms' | 's' | 'm' | 'h']);
}

export function limitOption(what: string, most: number): Option {
  return new Option('--limit <count>', `at most this many ${what}`).argParser(parseLimit).default(most);
}

/** @throws UsageError */
function parseLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit > 0) return limit;
  throw new UsageError(`--limit is "${text}". Give a whole number above 0.`);
}

/**
 * The settings of a client of the group.
 * @throws UsageError for missing or contradictory options
 */
export async function clientSettings(
  options: ConnectionOptions,
  sourceOf: (option: string) => string | undefined,
): Promise<PodSettings> {
  const { group, kvPrefix, timing, timeout } = options;
  if (group === undefined) {
    throw new UsageError('No group was given. Give --group NAME, or set HEDGE_GROUP: the option `group` of the pods.');
  }
  const backend = await backendOf(options, sourceOf);
  const secret = process.env['HEDGE_SECRET'];
  const tls = tlsOf(options);
  try {
    return resolveOptions({
      group,
      backend,
      mode: 'client',
      timing: timing as 'lan',
      defaultTimeoutMs: timeout,
      spill: { memory: SPILL_MEMORY },
      ...(kvPrefix !== undefined && { kv: { prefix: kvPrefix } }),
      ...(secret !== undefined && { secret }),
      ...(tls !== undefined && { tls }),
    });
  } catch (error) {
    const problems = error instanceof HedgeError ? error.details['problems'] : undefined;
    throw new UsageError(Array.isArray(problems) ? problems.join('\n') : messageOf(error), { cause: error });
  }
}

/** The name of the database: by option, by the option that only one database has, or by environment, in this order. */
export function backendName(
  options: ConnectionOptions,
  sourceOf: (option: string) => string | undefined,
): (typeof BACKENDS)[number] {
  const given = (source: string) => (option: string) => sourceOf(option) === source;
  for (const source of ['cli', 'env']) {
    const isGiven = given(source);
    if (isGiven('backend')) return options.backend as (typeof BACKENDS)[number];
    const places = Object.keys(PLACES).filter(isGiven) as (keyof typeof PLACES)[];
    const [place] = places;
    if (places.length > 1) {
      const names = places.map((name) => `--${name}`).join(' and ');
      throw new UsageError(`${names} were given, and name different databases. Give one of them, or --backend.`);
    }
    if (place !== undefined) return PLACES[place];
  }
  throw new UsageError(
    'No database was given. Give --file PATH (SQLite), --url postgres://… (PostgreSQL) or --database projects/… (Spanner), or set HEDGE_BACKEND and the variables that `nestjs-hedge --help` lists.',
  );
}

async function backendOf(
  options: ConnectionOptions,
  sourceOf: (option: string) => string | undefined,
): Promise<BackendFactory> {
  const name = backendName(options, sourceOf);
  try {
    return await MAKERS[name](options);
  } catch (error) {
    if (error instanceof HedgeError && error.code === 'INVALID_OPTIONS') throw new UsageError(error.message);
    throw error;
  }
}

/** Each loads only its own driver. */
const MAKERS: Readonly<Record<(typeof BACKENDS)[number], (options: ConnectionOptions) => Promise<BackendFactory>>> = {
  sqlite: async ({ file, ...options }) => {
    if (file === undefined) throw missing('--file PATH', 'HEDGE_SQLITE_FILE');
    if (!existsSync(file)) {
      throw new UsageError(`There is no file ${file}. Give the file of the pods, on this machine, by --file.`);
    }
    const { existingSqlite } = await import('../database/sqlite/backend.js');
    return existingSqlite({ file, ...tablesOf(options) });
  },
  postgres: async ({ url, schema, ...options }) => {
    if (url === undefined) throw missing('--url postgres://…', 'DATABASE_URL');
    const { postgres } = await import('../database/postgres/index.js');
    return postgres({ connectionString: url, ...(schema !== undefined && { schema }), ...tablesOf(options) });
  },
  spanner: async ({ database, ...options }) => {
    if (database === undefined) throw missing('--database projects/…', 'HEDGE_SPANNER_DATABASE');
    const { spanner } = await import('../database/spanner/index.js');
    return spanner({ database, ...tablesOf(options) });
  },
};

function tablesOf({ lockTable, logTable }: Pick<ConnectionOptions, 'lockTable' | 'logTable'>) {
  return { ...(lockTable !== undefined && { lockTable }), ...(logTable !== undefined && { logTable }) };
}

function missing(option: string, variable: string): UsageError {
  return new UsageError(`The database needs ${option}. Give it, or set ${variable}.`);
}

function tlsOf({ tlsCa, tlsCert, tlsKey, tlsServerName }: ConnectionOptions) {
  if (tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCa === undefined || tlsCert === undefined || tlsKey === undefined) {
    throw new UsageError('TLS needs --tls-ca, --tls-cert and --tls-key. Give all three files.');
  }
  const [ca, cert, key] = [tlsCa, tlsCert, tlsKey].map(textOf) as [string, string, string];
  return { ca, cert, key, ...(tlsServerName !== undefined && { serverName: tlsServerName }) };
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`The file ${file} cannot be read: ${messageOf(error)}. Give another one.`);
  }
}
