import type { HedgeError } from '../../common/errors.js';
import { shown } from '../../common/validation/shown.js';
import { checkDriverOptions, checkTablesDiffer, invalidOption } from '../driver-options.js';
import { isSpannerClient, ownClient, usersClient, type ClientSource, type SpannerDatabase } from './client/client.js';

interface CommonOptions {
  /** Name of the table of leases. Letters, digits and `_`. Default: `locktable`. */
  readonly lockTable?: string;
  /** Name of the table of keys and values. Letters, digits and `_`. Default: `logtable`. */
  readonly logTable?: string;
  /**
   * Lets `latest`, `history` and `keys` read from a replica that may be this many milliseconds behind. That is faster and
   * cheaper far from the leader region, but no longer linearizable. Leases, writes, and the library's own reads, as of
   * the ledgers of jobs, are unaffected.
   * Default: strong reads, which see all writes that were acknowledged before.
   */
  readonly maxStalenessMs?: number;
}

/** The database, or a client for it. */
export type SpannerOptions = CommonOptions &
  (
    | {
        /**
         * `projects/PROJECT/instances/INSTANCE/databases/DATABASE`. The driver connects with Application Default
         * Credentials, or to the emulator in `SPANNER_EMULATOR_HOST`.
         */
        readonly database: string;
        readonly client?: undefined;
      }
    | {
        /** A `Database` of your own client, for your own credentials or settings. Close it after the app. */
        readonly client: SpannerDatabase;
        readonly database?: undefined;
      }
  );

/** The names of the two tables. They are validated, because they become part of the text of statements. */
export interface Tables {
  readonly lockTable: string;
  readonly logTable: string;
}

export interface SpannerConfig extends Tables {
  readonly source: () => ClientSource;
  readonly maxStalenessMs: number | undefined;
}

const DATABASE_NAME = /^projects\/[^/\s]+\/instances\/[^/\s]+\/databases\/[^/\s]+$/;

/** Spanner keeps old versions for an hour by default, and for a week at most. */
const MAX_STALENESS_MS = 7 * 24 * 3_600_000;

const KNOWN: readonly string[] = [
  'database',
  'client',
  'lockTable',
  'logTable',
  'maxStalenessMs',
] satisfies (keyof SpannerOptions)[];

/** @throws HedgeError INVALID_OPTIONS */
export function spannerConfig(options: SpannerOptions): SpannerConfig {
  checkDriverOptions('spanner', options, KNOWN, "spanner({ database: 'projects/P/instances/I/databases/D' })");
  const { database, client, maxStalenessMs } = options;
  const tables = tableNames(options);
  if (
    maxStalenessMs !== undefined &&
    !(Number.isFinite(maxStalenessMs) && maxStalenessMs > 0 && maxStalenessMs <= MAX_STALENESS_MS)
  ) {
    throw invalid(
      `maxStalenessMs must be a number of milliseconds above 0 and at most 7 days, not ${shown(maxStalenessMs)}. Omit it for strong reads.`,
    );
  }
  if ((database === undefined) === (client === undefined)) {
    throw invalid(
      "give either database: 'projects/PROJECT/instances/INSTANCE/databases/DATABASE', or client: a Database of your own @google-cloud/spanner client.",
    );
  }
  if (client !== undefined) {
    if (!isSpannerClient(client)) {
      throw invalid(
        "client must be a Database of @google-cloud/spanner, as new Spanner().instance('i').database('d') returns.",
      );
    }
    return { ...tables, maxStalenessMs, source: () => usersClient(client) };
  }
  const name = databaseName(database);
  return { ...tables, maxStalenessMs, source: () => ownClient(name) };
}

/**
 * The options with which another thread connects to the same database.
 * @throws HedgeError INVALID_OPTIONS for a lent client
 */
export function ownClientOptions(options: SpannerOptions): SpannerOptions {
  if (options.client === undefined) return options;
  throw invalid(
    "renewal is 'worker', but a worker thread cannot use a lent client: a client works on the main thread only. Give database in place of client, or remove renewal.",
  );
}

/** @throws HedgeError INVALID_OPTIONS */
export function databaseName(database: string): string {
  if (typeof database === 'string' && DATABASE_NAME.test(database)) return database;
  throw invalid(
    `database must be projects/PROJECT/instances/INSTANCE/databases/DATABASE, not ${shown(database, '"')}.`,
  );
}

/** @throws HedgeError INVALID_OPTIONS */
export function tableNames({ lockTable = 'locktable', logTable = 'logtable' }: Partial<Tables>): Tables {
  for (const [option, name] of Object.entries({ lockTable, logTable })) {
    if (typeof name !== 'string' || !/^[A-Za-z]\w{0,127}$/.test(name)) {
      throw invalid(
        `${option} ${shown(name, '"')} is no usable table name. Use letters, digits and _, a letter first, at most 128.`,
      );
    }
  }
  checkTablesDiffer('spanner', lockTable, logTable);
  return { lockTable, logTable };
}

function invalid(message: string): HedgeError {
  return invalidOption('spanner', message);
}
