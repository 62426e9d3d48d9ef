/**
 * A client or pool of any library that runs one statement at a time: a pool of `pg`, or TypeORM's DataSource, Prisma,
 * Drizzle, Kysely, Knex or MikroORM behind a few lines.
 *
 * @example
 * postgres({ client: { query: (text, values) => dataSource.query(text, values) } });
 */
export interface PostgresClient {
  /**
   * Runs one statement outside of any transaction.
   * @param values of `$1`, `$2`, …: texts and nulls only.
   * @returns the rows, or an object with them, by the names of their columns.
   */
  query(text: string, values: PostgresValue[]): Promise<PostgresResult>;
}

export type PostgresValue = string | null;

export type PostgresResult = readonly object[] | { readonly rows: readonly object[] };

/** A `pg.Pool`, as far as this driver uses it. */
export interface PostgresPool {
  /** The settings of its connections. The driver dials the connection for leases with them. */
  readonly options: object;
  connect(): Promise<PostgresPoolClient>;
}

export interface PostgresPoolClient extends PostgresClient {
  /** @param destroy closes the connection instead of keeping it in the pool. */
  release(destroy?: boolean): void;
  /** The pool itself listens only to connections that are not checked out. */
  on?(event: 'error', listener: () => void): unknown;
  removeListener?(event: 'error', listener: () => void): unknown;
}

/** One statement. Each parameter is a text; the statement casts it. */
export interface Statement {
  readonly text: string;
  readonly values: readonly PostgresValue[];
}

/** A row by the names of its columns, each a text: every statement of this driver casts what it selects. */
export type Row = Readonly<Record<string, string | null | undefined>>;

/** Runs single statements, each a transaction of its own. */
export interface Channel {
  /**
   * @param remainingMs after which it gives up waiting.
   * @param urgent whether it goes before the statements that wait for a connection.
   * @throws SQL errors as the client reports them; NotSent, NoAnswer, Closed.
   */
  query(statement: Statement, remainingMs: number, urgent?: boolean): Promise<readonly Row[]>;
  /** Never throws. */
  close(): Promise<void>;
}

/** The statement did not reach the server, so it had no effect. */
export class NotSent extends Error {
  constructor(
    message: string,
    override readonly cause?: unknown,
  ) {
    super(message);
  }
}

/** The server did not answer in time, and may execute the statement yet. */
export class NoAnswer extends Error {
  constructor(waitedMs: number) {
    super(`no answer within ${Math.round(waitedMs)} ms`);
  }
}

/** The backend was closed. */
export class Closed extends Error {
  constructor() {
    super('it is closed');
  }
}

/** SQLSTATE of a write on a server that only reads. */
export const READ_ONLY = '25006';

/** A standby answered a read: what it shows can be old. */
export class ReadOnlyServer extends Error {
  readonly code = READ_ONLY;

  constructor() {
    super('the server is a standby, which reads only');
  }
}

/**
 * Runs a statement on a connection.
 * @param leftMs after which it stops waiting
 * @param waitedMs the time that the caller has then waited in all, for the error
 * @throws SQL errors as the client reports them; NoAnswer; ReadOnlyServer for the answer of a standby to a statement of
 *   `strongly` (`sql.ts`).
 */
export async function rowsWithin(
  client: Pick<PostgresClient, 'query'>,
  { text, values }: Statement,
  leftMs: number,
  waitedMs: number,
): Promise<readonly Row[]> {
  const result = await inTime(client.query(text, [...values]), leftMs, () => new NoAnswer(waitedMs));
  const rows = ('rows' in result ? result.rows : result) as readonly Row[];
  if (rows[0]?.['standby'] === 'true') throw new ReadOnlyServer();
  return rows;
}

/** Settles with the promise, or rejects after `ms`. */
export function inTime<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
