import { messageOf } from '../../../common/errors.js';
import { breaksConnection } from '../failures.js';
import {
  Closed,
  inTime,
  NotSent,
  rowsWithin,
  type Channel,
  type PostgresClient,
  type PostgresPool,
  type PostgresPoolClient,
  type Row,
  type Statement,
} from './client.js';

/** The statement reports the failure of its connection. Without a listener, the event would end the process. */
const ignore = (): void => undefined;

/** The application's own pool. The driver never ends it. */
export class LentPool implements Channel {
  #closed = false;

  constructor(private readonly pool: PostgresPool) {}

  async query(statement: Statement, remainingMs: number): Promise<readonly Row[]> {
    if (this.#closed) throw new Closed();
    const end = performance.now() + remainingMs;
    const client = await this.#checkOut(remainingMs);
    let broken = false;
    client.on?.('error', ignore);
    try {
      const left = end - performance.now();
      if (left <= 0) throw new NotSent('the pool had no connection in time');
      return await rowsWithin(client, statement, left, remainingMs);
    } catch (error) {
      broken = breaksConnection(error);
      throw error;
    } finally {
      client.removeListener?.('error', ignore);
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** A connection that comes too late goes back into the pool. */
  async #checkOut(remainingMs: number): Promise<PostgresPoolClient> {
    const connecting = this.pool.connect();
    const late = () => new NotSent(`the pool had no free connection within ${Math.round(remainingMs)} ms`);
    try {
      return await inTime(connecting, remainingMs, late);
    } catch (error) {
      if (error instanceof NotSent)
        void connecting.then(
          (client) => client.release(),
          () => undefined,
        );
      throw error instanceof NotSent ? error : new NotSent(messageOf(error), error);
    }
  }
}

/** A client of the application, which alone decides on which connection a statement runs. */
export class LentClient implements Channel {
  #closed = false;

  constructor(private readonly client: PostgresClient) {}

  async query(statement: Statement, remainingMs: number): Promise<readonly Row[]> {
    if (this.#closed) throw new Closed();
    return rowsWithin(this.client, statement, remainingMs, remainingMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}
