import { createRequire } from 'node:module';
import { HedgeError } from '../../../common/errors.js';
import { loadProblem } from '../../../common/optional-package.js';
import type { PostgresPool, PostgresResult, PostgresValue } from './client.js';

/** A `pg.Client`, as far as this driver uses it. */
export interface PgClient {
  connect(): Promise<unknown>;
  query(text: string, values: PostgresValue[]): Promise<PostgresResult>;
  end(): Promise<void>;
  on(event: 'error' | 'end', listener: () => void): unknown;
  /** Whether an open connection keeps the process alive. */
  ref(): void;
  unref(): void;
  readonly connection?: { readonly stream?: { destroy(): void } };
}

type PgClientClass = new (config: object) => PgClient;

/** Makes a client that has not connected yet. */
export type MakeClient = (connectMs: number) => PgClient;

/** @throws HedgeError INVALID_OPTIONS from the function that it returns, when the package `pg` cannot be loaded. */
export function ownClients(config: object): MakeClient {
  let Client: PgClientClass | undefined;
  return (connectMs) => new (Client ??= loadPackage())(settings(config, connectMs));
}

/** Clients of the same kind and with the same settings as those of a pool, but not from the pool. */
export function clientsLikeIn(pool: PostgresPool): MakeClient {
  // `pg.Pool` makes its connections by this class, from these options.
  let { Client } = pool as { Client?: PgClientClass };
  return (connectMs) => new (Client ??= loadPackage())(settings(pool.options, connectMs));
}

function settings(config: object, connectMs: number): object {
  // A pool hides its password from enumeration, so that logs of its options do not show it.
  const { password } = config as { password?: unknown };
  return {
    fallback_application_name: 'nestjs-hedge',
    ...config,
    ...(password !== undefined && { password }),
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
  };
}

function loadPackage(): PgClientClass {
  try {
    return (createRequire(import.meta.url)('pg') as { Client: PgClientClass }).Client;
  } catch (cause) {
    const problem = loadProblem('pg', cause);
    throw new HedgeError('INVALID_OPTIONS', `The PostgreSQL backend has no database client. ${problem}`, { cause });
  }
}
