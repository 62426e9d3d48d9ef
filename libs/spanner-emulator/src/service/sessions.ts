import { randomUUID } from 'node:crypto';
import type { Catalog } from '../catalog.js';
import { invalidArgument, resourceNotFound } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { Faults } from '../faults.js';
import type { Database } from '../storage/database.js';
import type { Transaction } from '../storage/transaction.js';
import { toProtoTime } from './codec.js';
import { checkName } from '../common/resource-names.js';
import { labelFilter } from './paging.js';
import type { google } from './protos.js';
import { TransactionTable } from './transaction-table.js';

/** A session connects the calls of a client with a database. A multiplexed session has any number of transactions. */
export interface Session {
  readonly name: string;
  readonly database: Database;
  readonly transactions: TransactionTable;
  readonly multiplexed: boolean;
  readonly labels: Record<string, string>;
  readonly createdAt: Nanos;
  usedAt: Nanos;
  /** The last aborted transaction of this session. The next one inherits its precedence. */
  lastAborted?: Transaction;
}

export class Sessions {
  private readonly sessions = new Map<string, Session>();
  private readonly tables = new WeakMap<Database, TransactionTable>();
  private generation = 0;

  constructor(
    private readonly catalog: Catalog,
    private readonly faults: Faults,
  ) {}

  create(databaseName: string, { multiplexed, labels }: google.spanner.v1.ISession): Session {
    const database = this.catalog.database(databaseName);
    let transactions = this.tables.get(database);
    if (!transactions) this.tables.set(database, (transactions = new TransactionTable(database)));
    const name = `${databaseName}/sessions/${randomUUID()}`;
    const now = database.now();
    const session: Session = {
      name,
      database,
      transactions,
      multiplexed: multiplexed ?? false,
      labels: labels ?? {},
      createdAt: now,
      usedAt: now,
    };
    this.sessions.set(name, session);
    return session;
  }

  createBatch(request: google.spanner.v1.IBatchCreateSessionsRequest): Session[] {
    const count = request.sessionCount ?? 0;
    if (count < 1) {
      throw invalidArgument(`Invalid number of sessions ${count}. Requested sessions should be greater than 0.`);
    }
    const template = request.sessionTemplate ?? {};
    if (template.multiplexed) throw invalidArgument('Multiplexed sessions may not be created in batch.');
    return Array.from({ length: count }, () => this.create(request.database ?? '', template));
  }

  /** Finds the session of a call. It may have been lost. */
  use(name: string | null | undefined): Session {
    checkName('session', name);
    this.loseAll();
    if (name && this.faults.drawSessionLoss()) this.remove(name);
    const session = this.sessions.get(name ?? '');
    if (!session) throw resourceNotFound('Session', name ?? '');
    // Fails for a session of a database that was dropped.
    this.catalog.database(session.database.name);
    session.usedAt = session.database.now();
    return session;
  }

  list(database: string, filter?: string | null): Session[] {
    this.catalog.database(database);
    const passes = labelFilter(filter);
    return [...this.sessions.values()].filter(
      ({ name, labels }) => name.startsWith(`${database}/sessions/`) && passes(labels),
    );
  }

  /** Deletes a session. A missing session is not an error, so that the request is repeatable. */
  delete(name: string | null | undefined): void {
    const known = checkName('session', name);
    if (this.sessions.get(known)?.multiplexed) throw invalidArgument('Multiplexed sessions may not be deleted.');
    this.remove(known);
  }

  private remove(name: string): void {
    const session = this.sessions.get(name);
    session?.transactions.abandon(name);
    this.sessions.delete(name);
  }

  private loseAll(): void {
    if (this.generation === this.faults.sessionGeneration) return;
    this.generation = this.faults.sessionGeneration;
    for (const name of this.sessions.keys()) this.remove(name);
  }
}

export const toProtoSession = ({
  name,
  labels,
  createdAt,
  usedAt,
  multiplexed,
}: Session): google.spanner.v1.ISession => ({
  name,
  labels,
  multiplexed,
  createTime: toProtoTime(createdAt),
  approximateLastUseTime: toProtoTime(usedAt),
});
