import { invalidArgument, SpannerError, Code, unimplemented } from '../common/status.js';
import { runDml } from '../query/dml.js';
import { runRead, type ReadRequest } from '../query/key-set.js';
import type { StatementContext } from '../query/relation.js';
import { prepareSelect, type Rows } from '../query/select.js';
import type { Statement } from '../sql/ast.js';
import { parseStatement } from '../sql/parser.js';
import type { Parameters } from '../sql/scope.js';
import type { Database } from '../storage/database.js';
import { Snapshot } from '../storage/snapshot.js';
import type { Transaction } from '../storage/transaction.js';
import type { Outcome } from './results.js';
import type { Session } from './sessions.js';
import type { Selected } from './transaction-selection.js';

/** Limit of the cached parsed statements: applications repeat few statements. */
const CACHED = 1_000;
/** https://cloud.google.com/spanner/quotas#query-limits */
const MAX_LENGTH = 1_000_000;

export interface SqlRequest {
  readonly sql: string;
  readonly parameters: Parameters;
}

/** Runs statements and reads in their selected transactions. */
export class Statements {
  private readonly cache = new Map<string, Statement>();

  constructor(private readonly countRow: () => void) {}

  isDml(sql: string): boolean {
    return this.parse(sql).kind !== 'select';
  }

  async execute(request: SqlRequest, session: Session, selected: Selected): Promise<Outcome> {
    const statement = this.parse(request.sql);
    const { database } = session;
    if (selected.kind === 'snapshot') {
      if (statement.kind !== 'select') {
        throw invalidArgument('DML statements can only be performed in a read-write transaction.');
      }
      if (statement.forUpdate) {
        throw unimplemented('FOR UPDATE and LOCK_SCANNED_RANGES=exclusive outside of read-write transactions');
      }
      const query = prepareSelect(statement, contextOf(request, database));
      return { rows: { columns: query.columns, rows: query.run(this.snapshot(selected.at)) }, at: selected.at };
    }
    const { transaction, kind } = selected.handle;
    if (kind === 'partitionedDml' && (statement.kind === 'select' || statement.kind === 'insert')) {
      throw invalidArgument('PartitionedDml Transactions may only be used to execute UPDATE and DELETE statements');
    }
    const outcome = await transaction.run((work): Outcome => {
      // Compiled again when the statement had to wait: its CURRENT_TIMESTAMP is that of the last run.
      const context = contextOf(request, database, transaction);
      if (statement.kind === 'select') {
        const query = prepareSelect(statement, context);
        return { rows: { columns: query.columns, rows: query.run(work) } };
      }
      const { count, returned } = runDml(statement, context, work);
      return { count, rows: returned };
    });
    if (kind !== 'partitionedDml') return outcome;
    await transaction.commit(() => {});
    return { ...outcome, countIsLowerBound: true };
  }

  async read(request: ReadRequest, selected: Selected): Promise<Outcome> {
    if (selected.kind === 'snapshot') return { rows: runRead(request, this.snapshot(selected.at)), at: selected.at };
    if (selected.handle.kind === 'partitionedDml') {
      throw invalidArgument('PartitionedDml Transactions may only be used to execute DML statements');
    }
    const rows: Rows = await selected.handle.transaction.run((work) => runRead(request, work));
    return { rows };
  }

  private snapshot(at: bigint): Snapshot {
    return new Snapshot(at, this.countRow);
  }

  private parse(sql: string): Statement {
    if (sql.length > MAX_LENGTH) {
      throw invalidArgument(`Query string length of ${sql.length} exceeds maximum allowed length of ${MAX_LENGTH}`);
    }
    const cached = this.cache.get(sql);
    if (cached) return cached;
    if (/^\s*(?:CREATE|DROP|ALTER)\b/i.test(sql)) {
      throw new SpannerError(Code.INVALID_ARGUMENT, 'DDL statements go to UpdateDatabaseDdl, not to ExecuteSql.');
    }
    if (/^\s*EXPLAIN\b/i.test(sql)) throw unimplemented('EXPLAIN');
    const statement = parseStatement(sql);
    if (this.cache.size >= CACHED) this.cache.delete(this.cache.keys().next().value!);
    this.cache.set(sql, statement);
    return statement;
  }
}

const contextOf = (
  { sql, parameters }: SqlRequest,
  database: Database,
  transaction?: Transaction,
): StatementContext => ({
  sql,
  parameters,
  schema: database.schema,
  now: database.now(),
  pending: (table) => transaction?.changes.pending.get(table),
});
