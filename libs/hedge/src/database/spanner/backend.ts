import type { Backend, BackendFactory } from '../backend.js';
import type { LeaseTable } from '../lease-table.js';
import type { LogTable } from '../log-table.js';
import type { PermitTable } from '../permit-table.js';
import type { UserTransactions } from '../user-transactions.js';
import { systemClock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { Connection } from './client/connection.js';
import { SpannerLeaseTable } from './lease-table.js';
import { SpannerLogTable } from './log-table.js';
import { ownClientOptions, spannerConfig, type SpannerConfig, type SpannerOptions } from './options.js';
import { SpannerPermitTable } from './permit-table.js';
import type { ReadBound } from './client/protocol.js';
import { SpannerRpc } from './client/rpc.js';
import { describeLacks, findSchema, lacksOf } from './schema.js';
import { SpannerUserTransactions } from './user-transactions.js';

/**
 * A backend in Cloud Spanner, for pods on any machine. Leases expire by the database's clock, and its commit timestamps
 * are the fencing tokens. Needs the package `@google-cloud/spanner` (8 or 9) and two tables, which
 * `npx nestjs-hedge schema` creates.
 *
 * Cost: a read of a lease or a key is one single-use read. These are one statement and one commit each: a renewal of one
 * lease or of hundreds, a batch of puts, and a write of a semaphore, which any number of grants share. `get` scans the
 * versions of its key unless the log table has an index on `(key, timestamp DESC, id DESC) STORING (value, leader)`. An
 * index that exists at the start is used, by a FORCE_INDEX hint.
 *
 * @throws HedgeError INVALID_OPTIONS for invalid names.
 * @example
 * HedgeModule.forRoot({
 *   group: 'orders',
 *   backend: spanner({ database: 'projects/p/instances/i/databases/d', lockTable: 'locktable', logTable: 'logtable' }),
 * });
 */
export function spanner(options: SpannerOptions): BackendFactory {
  const config = spannerConfig(options);
  return {
    create: ({ timeoutMs }) => new SpannerBackend(config, timeoutMs),
    forWorker: () => ({ module: import.meta.url, make: 'spanner', options: ownClientOptions(options) }),
  };
}

class SpannerBackend implements Backend {
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  readonly transactions: UserTransactions;
  readonly #log: SpannerLogTable;
  readonly #rpc: SpannerRpc;
  readonly #connection: Connection;

  constructor(
    private readonly config: SpannerConfig,
    timeoutMs: number,
  ) {
    this.#rpc = new SpannerRpc(config.source());
    this.#connection = new Connection(this.#rpc, timeoutMs, systemClock);
    this.lease = new SpannerLeaseTable(this.#connection, config);
    this.log = this.#log = new SpannerLogTable(this.#connection, config, readBound(config));
    this.permits = new SpannerPermitTable(this.#connection, config);
    this.transactions = new SpannerUserTransactions(config);
  }

  get name(): string {
    return `spanner ${this.#rpc.database}`;
  }

  async open(): Promise<void> {
    const found = await this.#connection.run('open', (attempt) => findSchema(this.config, attempt));
    const lacks = lacksOf(this.config, found);
    if (lacks.length > 0) {
      throw new HedgeError('INVALID_OPTIONS', `${this.name} ${describeLacks(lacks, this.config, this.#rpc.database)}`, {
        details: { database: this.#rpc.database, lacks: lacks.map(({ what }) => what) },
      });
    }
    this.#log.useIndex(found.latestIndex);
  }

  async close(): Promise<void> {
    await this.#rpc.close().catch(() => undefined);
  }
}

function readBound({ maxStalenessMs }: SpannerConfig): ReadBound {
  if (maxStalenessMs === undefined) return { strong: true };
  const seconds = Math.floor(maxStalenessMs / 1_000);
  return { maxStaleness: { seconds, nanos: Math.round((maxStalenessMs - seconds * 1_000) * 1e6) } };
}
