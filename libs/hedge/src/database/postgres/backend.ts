import type { Backend, BackendFactory, DatabaseFacts } from '../backend.js';
import type { LeaseTable } from '../lease-table.js';
import type { LogTable } from '../log-table.js';
import type { PermitTable } from '../permit-table.js';
import { systemClock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { Calls } from './client/calls.js';
import { PostgresLeaseTable } from './lease-table.js';
import { PostgresLogTable } from './log-table.js';
import { ownConnectionOptions, postgresConfig, type PostgresConfig, type PostgresOptions } from './options.js';
import { PostgresPermitTable } from './permit-table.js';
import { clockLack, describeLacks, findSchema, lacksOf, type Lack } from './schema.js';
import { namesOf } from './sql.js';
import { PostgresUserTransactions } from './user-transactions.js';

/**
 * A backend in PostgreSQL 13 or later, for pods anywhere. Needs the package `pg` 8, unless you lend a client of another
 * library, and the tables that `npx nestjs-hedge schema --dialect postgres` makes. It uses nothing of a session, so all
 * of it runs through PgBouncer in transaction mode.
 *
 * Cost: every operation is one statement, which is a transaction of its own. Leases have a connection of their own.
 *
 * @throws HedgeError INVALID_OPTIONS for options that cannot be.
 * @example
 * HedgeModule.forRoot({ group: 'orders', backend: postgres({ connectionString: process.env.DATABASE_URL }) });
 */
export function postgres(options: PostgresOptions): BackendFactory {
  const config = postgresConfig(options);
  return {
    create: ({ timeoutMs }) => new PostgresBackend(config, timeoutMs),
    forWorker: () => ({ module: import.meta.url, make: 'postgres', options: ownConnectionOptions(options) }),
  };
}

const FACTS = {
  text: `SELECT current_setting('server_version') AS version, current_setting('transaction_read_only') AS readonly,
    pg_backend_pid()::text AS session, (extract(epoch FROM clock_timestamp()) * 1000)::text AS clock`,
  values: [],
};

class PostgresBackend implements Backend {
  readonly name: string;
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  readonly transactions: PostgresUserTransactions;
  readonly #leaseCalls: Calls;
  readonly #logCalls: Calls;

  constructor(
    private readonly config: PostgresConfig,
    timeoutMs: number,
  ) {
    this.name = config.name;
    const { leases, log } = config.connect();
    this.#leaseCalls = new Calls(leases, config.name, timeoutMs);
    this.#logCalls = new Calls(log, config.name, timeoutMs);
    const lease = new PostgresLeaseTable(this.#leaseCalls, config, systemClock, this.#logCalls);
    this.lease = lease;
    this.log = new PostgresLogTable(this.#logCalls, config);
    this.permits = new PostgresPermitTable(this.#logCalls, config, lease);
    this.transactions = new PostgresUserTransactions(this.#leaseCalls, config);
  }

  async open(): Promise<void> {
    const lacks = await this.#leaseCalls.run('open', async (query): Promise<readonly Lack[]> => {
      const found = lacksOf(this.config, await findSchema(this.config, query));
      if (found.length > 0) return found;
      const { clock } = namesOf(this.config);
      const started = await query({ text: `SELECT last::text, version() AS version FROM ${clock}`, values: [] });
      this.transactions.oneConnection = /PGlite|emscripten/i.test(started[0]?.['version'] ?? '');
      return started.length === 1 ? [] : [clockLack(this.config)];
    });
    if (lacks.length === 0) return;
    throw new HedgeError('INVALID_OPTIONS', `${this.name} ${describeLacks(lacks, this.config)}`, {
      details: { database: this.name, lacks: lacks.map(({ what }) => what) },
    });
  }

  async facts(): Promise<DatabaseFacts> {
    // Each connection of the driver has a session of its own, unless a pooler shares one between transactions.
    const [lease] = await this.#leaseCalls.query('facts', FACTS);
    const [log] = await this.#logCalls.query('facts', FACTS);
    return {
      version: `PostgreSQL ${lease?.['version'] ?? ''}`,
      clockMs: Number(log?.['clock']),
      readOnly: lease?.['readonly'] === 'on',
      pooled: lease?.['session'] === log?.['session'] && !this.transactions.oneConnection,
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.#leaseCalls.close(), this.#logCalls.close()]);
  }
}
