import { messageOf } from '../../../common/errors.js';
import { breaksConnection } from '../failures.js';
import { Closed, inTime, NotSent, rowsWithin, type Channel, type Row, type Statement } from './client.js';
import type { MakeClient, PgClient } from './pg-client.js';

/** A connection that was not used for so long is closed, in milliseconds. */
const IDLE_MS = 30_000;

interface Idle {
  readonly client: PgClient;
  readonly timer: NodeJS.Timeout;
}

interface Waiter {
  readonly use: (client: PgClient | undefined) => void;
  readonly refuse: (error: Error) => void;
}

/**
 * A few connections of this driver's own, dialled when a statement needs one. Statements wait in order for a free one,
 * the urgent ones first.
 *
 * A connection that failed, or did not answer in time, is destroyed, and the idle ones with it: after a failover they
 * lead to the same dead server. The next statement dials anew.
 */
export class Connections implements Channel {
  readonly #idle: Idle[] = [];
  readonly #busy = new Set<PgClient>();
  readonly #waiters = new Set<Waiter>();
  /** These go first. */
  readonly #urgent = new Set<Waiter>();
  #closed = false;

  /** @param size how many connections may be open at once */
  constructor(
    private readonly makeClient: MakeClient,
    private readonly size: number,
  ) {}

  async query(statement: Statement, remainingMs: number, urgent = false): Promise<readonly Row[]> {
    const end = performance.now() + remainingMs;
    const client = await this.#checkOut(end, urgent);
    let broken = false;
    try {
      const left = end - performance.now();
      if (left <= 0) throw new NotSent(`no connection within ${Math.round(remainingMs)} ms`);
      return await rowsWithin(client, statement, left, remainingMs);
    } catch (error) {
      broken = breaksConnection(error);
      throw this.#closed ? new Closed() : error;
    } finally {
      this.#checkIn(client, broken);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of [...this.#urgent, ...this.#waiters]) waiter.refuse(new Closed());
    for (const client of this.#busy) destroy(client);
    await Promise.all(this.#idle.splice(0).map(({ client, timer }) => end(client, timer)));
  }

  async #checkOut(deadline: number, urgent: boolean): Promise<PgClient> {
    if (this.#closed) throw new Closed();
    const idle = this.#idle.pop();
    if (idle !== undefined) return this.#use(idle);
    if (this.#busy.size < this.size) return this.#dial(deadline);
    const client = await this.#wait(deadline, urgent);
    return client ?? this.#checkOut(deadline, urgent);
  }

  #use({ client, timer }: Idle): PgClient {
    clearTimeout(timer);
    client.ref();
    this.#busy.add(client);
    return client;
  }

  async #dial(deadline: number): Promise<PgClient> {
    const connectMs = Math.max(1, Math.ceil(deadline - performance.now()));
    const client = this.makeClient(connectMs);
    client.on('error', () => this.#forget(client));
    client.on('end', () => this.#forget(client));
    this.#busy.add(client);
    try {
      await inTime(client.connect(), connectMs, () => new NotSent(`no connection within ${connectMs} ms`));
    } catch (error) {
      this.#checkIn(client, true);
      throw this.#closed ? new Closed() : new NotSent(messageOf(error), error);
    }
    if (!this.#closed) return client;
    this.#checkIn(client, true);
    throw new Closed();
  }

  /** @returns undefined when there is room to dial. */
  #wait(deadline: number, urgent: boolean): Promise<PgClient | undefined> {
    const waiters = urgent ? this.#urgent : this.#waiters;
    return new Promise((resolve, reject) => {
      const waitMs = Math.max(0, deadline - performance.now());
      const settle = () => {
        clearTimeout(timer);
        waiters.delete(waiter);
      };
      const waiter: Waiter = {
        use: (client) => {
          settle();
          resolve(client);
        },
        refuse: (error) => {
          settle();
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        waiter.refuse(new NotSent(`all ${this.size} connections were busy for ${Math.round(waitMs)} ms`));
      }, waitMs);
      waiters.add(waiter);
    });
  }

  #checkIn(client: PgClient, broken: boolean): void {
    const open = this.#busy.delete(client);
    if (broken || this.#closed) {
      destroy(client);
      if (broken) for (const idle of this.#idle.splice(0)) void end(idle.client, idle.timer);
      this.#next(undefined);
      return;
    }
    if (!open) return this.#next(undefined);
    if (this.#urgent.size + this.#waiters.size > 0) {
      this.#busy.add(client);
      return this.#next(client);
    }
    client.unref();
    const timer = setTimeout(() => {
      this.#forget(client);
      void end(client, timer);
    }, IDLE_MS).unref();
    this.#idle.push({ client, timer });
  }

  #next(client: PgClient | undefined): void {
    const [waiter] = this.#urgent.size > 0 ? this.#urgent : this.#waiters;
    waiter?.use(client);
  }

  /** Of one that broke or ended: `#checkIn` notices it when it is busy. */
  #forget(client: PgClient): void {
    this.#busy.delete(client);
    const index = this.#idle.findIndex((idle) => idle.client === client);
    if (index < 0) return;
    const [idle] = this.#idle.splice(index, 1);
    clearTimeout(idle?.timer);
  }
}

/** At once: `end` would wait for a server that may be silent. */
function destroy(client: PgClient): void {
  client.connection?.stream?.destroy();
}

/** Says goodbye to the server, for a moment at most. */
async function end(client: PgClient, timer: NodeJS.Timeout): Promise<void> {
  clearTimeout(timer);
  client.ref();
  await inTime(client.end(), 500, () => new Error('silent')).catch(() => undefined);
  destroy(client);
}
