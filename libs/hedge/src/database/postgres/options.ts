import type { HedgeError } from '../../common/errors.js';
import { shown } from '../../common/validation/shown.js';
import { checkDriverOptions, checkTablesDiffer, invalidOption } from '../driver-options.js';
import type { Channel, PostgresClient, PostgresPool } from './client/client.js';
import { Connections } from './client/connections.js';
import { LentClient, LentPool } from './client/lent.js';
import { clientsLikeIn, ownClients, type MakeClient } from './client/pg-client.js';

/** Which database, and by whose connections. */
export type PostgresOptions = CommonOptions & (OwnConnectionOptions | LentPoolOptions | LentClientOptions);

interface CommonOptions {
  /** Schema of the tables. Lower-case letters, digits and `_`. Default: `hedge`. */
  readonly schema?: string;
  /** Name of the table of leases. Lower-case letters, digits and `_`. Default: `locktable`. */
  readonly lockTable?: string;
  /** Name of the table of keys and values. Lower-case letters, digits and `_`. Default: `logtable`. */
  readonly logTable?: string;
}

interface OwnConnectionOptions {
  /** `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. The driver opens one connection for leases, and up to four for the log. */
  readonly connectionString: string;
  /** TLS as `pg` has it: true, or the options of `tls.connect`. An `sslmode` in the connection string wins. */
  readonly ssl?: boolean | object;
  readonly pool?: undefined;
  readonly client?: undefined;
  readonly leaseClient?: undefined;
}

interface LentPoolOptions {
  /** A `pg.Pool` of your own, for the log. The driver opens one more connection with its settings, for leases. You end the pool, after the app. */
  readonly pool: PostgresPool;
  readonly connectionString?: undefined;
  readonly ssl?: undefined;
  readonly client?: undefined;
  readonly leaseClient?: undefined;
}

interface LentClientOptions {
  /** Runs single statements by a library of your own. */
  readonly client: PostgresClient;
  /** The same for leases, which must not wait for other work of the app. Default: `client`. */
  readonly leaseClient?: PostgresClient;
  readonly connectionString?: undefined;
  readonly ssl?: undefined;
  readonly pool?: undefined;
}

/** Names of the tables; checked, so that they can stand in quotes in the text of a statement. */
export interface Tables {
  readonly schema: string;
  readonly lockTable: string;
  readonly logTable: string;
}

export interface PostgresConfig extends Tables {
  /** For errors and log lines: the host and the database, without credentials. */
  readonly name: string;
  /** Makes the two channels of one backend. */
  connect(): { readonly leases: Channel; readonly log: Channel };
}

/** Connections of the log, when they are the driver's own. */
const LOG_CONNECTIONS = 4;

const KNOWN: readonly string[] = [
  'connectionString',
  'ssl',
  'pool',
  'client',
  'leaseClient',
  'schema',
  'lockTable',
  'logTable',
] satisfies (keyof PostgresOptions)[];

/** @throws HedgeError INVALID_OPTIONS */
export function postgresConfig(options: PostgresOptions): PostgresConfig {
  checkDriverOptions('postgres', options, KNOWN, "postgres({ connectionString: 'postgres://…' })");
  const tables = tableNames(options);
  const { connectionString, ssl, pool, client, leaseClient } = options;
  if ([connectionString, pool, client].filter((one) => one !== undefined).length !== 1) {
    throw invalid('give one of connectionString, pool (a pg.Pool of your own) or client ({ query(text, values) }).');
  }
  if (client !== undefined) {
    for (const [option, one] of Object.entries({ client, leaseClient: leaseClient ?? client })) {
      if (typeof one.query !== 'function') throw invalid(`${option} must have a method query(text, values).`);
    }
    return {
      ...tables,
      name: 'postgres by a client of the application',
      connect: () => ({ leases: new LentClient(leaseClient ?? client), log: new LentClient(client) }),
    };
  }
  if (leaseClient !== undefined) throw invalid('leaseClient goes with client only: remove it.');
  if (pool !== undefined) {
    if (ssl !== undefined) throw invalid('ssl goes with connectionString only: a pool has its own.');
    if (typeof pool.connect !== 'function' || typeof pool.options !== 'object' || pool.options === null) {
      throw invalid('pool must be a pg.Pool. Lend another kind of pool as client: { query(text, values) }.');
    }
    const makeClient = clientsLikeIn(pool);
    return {
      ...tables,
      name: nameOf({ ...pool.options }),
      connect: () => ({ leases: oneConnection(makeClient), log: new LentPool(pool) }),
    };
  }
  const makeClient = ownClients({
    connectionString: checkedConnectionString(connectionString),
    ...(ssl !== undefined && { ssl: checkedSsl(ssl) }),
  });
  return {
    ...tables,
    name: nameOf({ connectionString }),
    connect: () => ({ leases: oneConnection(makeClient), log: new Connections(makeClient, LOG_CONNECTIONS) }),
  };
}

/**
 * The options with which another thread connects to the same database.
 * @throws HedgeError INVALID_OPTIONS for lent connections
 */
export function ownConnectionOptions(options: PostgresOptions): PostgresOptions {
  if (options.connectionString !== undefined) return options;
  const lent = options.pool === undefined ? 'client' : 'pool';
  throw invalid(
    `renewal is 'worker', but a worker thread cannot use a lent ${lent}: a ${lent} works on the main thread only. Give connectionString in place of ${lent}, or remove renewal.`,
  );
}

/** @throws HedgeError INVALID_OPTIONS */
export function tableNames({
  schema = 'hedge',
  lockTable = 'locktable',
  logTable = 'logtable',
}: Partial<Tables>): Tables {
  for (const [option, name] of Object.entries({ schema, lockTable, logTable })) {
    // Shorter than PostgreSQL's 63 bytes, for the names of the indexes.
    if (typeof name !== 'string' || !/^[a-z_][a-z0-9_]{0,47}$/.test(name)) {
      throw invalid(
        `${option} ${shown(name, '"')} is no usable name. Use lower-case letters, digits and _, a letter or _ first, at most 48.`,
      );
    }
  }
  for (const [option, name] of Object.entries({ lockTable, logTable })) {
    if (/^hedge_(clock|schema)$/.test(name)) throw invalid(`${option} "${name}" is the name of a table of the driver.`);
  }
  checkTablesDiffer('postgres', lockTable, logTable);
  return { schema, lockTable, logTable };
}

/** @throws HedgeError INVALID_OPTIONS */
export function checkedConnectionString(text: unknown): string {
  if (typeof text === 'string' && /^(postgres(ql)?:\/\/.|socket:.)/.test(text)) return text;
  throw invalid(`connectionString must be postgres://USER:PASSWORD@HOST:PORT/DATABASE, not ${shown(text, '"')}.`);
}

/** The host and the database, without credentials. */
export function nameOf(settings: Readonly<Record<string, unknown>>): string {
  const { connectionString, host = 'localhost', port = 5432, database = '' } = settings;
  if (typeof connectionString !== 'string') return `postgres ${shown(host, '')}:${shown(port)}/${shown(database, '')}`;
  // The last @, since a password may contain others.
  const [, place = ''] = /^[^?#]*?:\/\/(?:[^?#]*@)?([^?#]*)/.exec(connectionString) ?? [];
  return `postgres ${place}`.trimEnd();
}

function oneConnection(makeClient: MakeClient): Channel {
  return new Connections(makeClient, 1);
}

function checkedSsl(ssl: unknown): boolean | object {
  if (typeof ssl === 'boolean' || (typeof ssl === 'object' && ssl !== null)) return ssl;
  throw invalid('ssl must be true, false, or the options of tls.connect.');
}

function invalid(message: string): HedgeError {
  return invalidOption('postgres', message);
}
