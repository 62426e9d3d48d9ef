import { HedgeError } from '../../common/errors.js';
import type { RunTransaction, SqlLibrary, SqlRow } from './library.js';
import { isObjectWith, notInTransaction } from './shapes.js';

/** Of `pg.Client` and `pg.PoolClient`, in JavaScript and native. */
interface PgClient {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly SqlRow[]; readonly command?: string }>;
  on(event: 'error', listener: () => void): unknown;
  escapeIdentifier(text: string): string;
}

interface PgPoolClient extends PgClient {
  release(destroy?: boolean): void;
}

interface PgPool {
  connect(): Promise<PgPoolClient>;
}

/** The client of a `pg.Pool`. Both overloads of `connect` are named, because TypeScript infers from the last one alone. */
export type PgTransactionOf<Source> = Source extends {
  connect(): Promise<infer Client>;
  connect(callback: never): void;
  totalCount: number;
}
  ? Client
  : never;

/** Clients with a listener. */
const listened = new WeakSet();

/** `pg`: a client between BEGIN and COMMIT is a transaction, and a pool is a source of them. */
export const pg: SqlLibrary = {
  transaction(tx) {
    if (isPool(tx)) throw notInTransaction('a pg.Pool, which runs each statement on any connection');
    if (!isClient(tx)) return undefined;
    ignoreEnd(tx);
    return { query: async (text, values) => (await tx.query(text, [...values])).rows };
  },

  source(source) {
    if (isClient(source)) throw clientIsNoSource();
    if (!isPool(source)) return undefined;
    const run: RunTransaction = async (work) => {
      const client = await source.connect();
      ignoreEnd(client);
      let broken = false;
      try {
        await client.query('BEGIN');
        const result = await work(client);
        const { command } = await client.query('COMMIT');
        // The answer to COMMIT after the work has swallowed an error of a statement.
        if (command === 'ROLLBACK') throw rolledBack();
        return result;
      } catch (error) {
        broken = await client.query('ROLLBACK').then(
          () => false,
          () => true,
        );
        throw error;
      } finally {
        client.release(broken);
      }
    };
    return run;
  },
};

/**
 * The server ends the session of a transaction that stays idle too long. Without a listener, the event of that would end
 * the process. The next statement fails in any case.
 */
function ignoreEnd(client: PgClient): void {
  if (listened.has(client)) return;
  listened.add(client);
  client.on('error', () => undefined);
}

function isClient(value: object): value is PgClient {
  return isObjectWith(value, ['query', 'escapeIdentifier', 'on']);
}

function isPool(value: object): value is PgPool {
  return isObjectWith(value, ['query', 'connect', 'end']) && 'totalCount' in value && !isClient(value);
}

function clientIsNoSource(): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    'Nothing was run: transaction() needs a data source, which begins a transaction, and was given a client of pg. Give the pg.Pool. Or run BEGIN on the client yourself, and call fence(client) before COMMIT.',
  );
}

function rolledBack(): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    'The transaction was rolled back instead of committed, because one of its statements had failed and the work went on. Let the work reject with the error of the statement.',
  );
}
