import { Code, invalidArgument, notFound, SpannerError, unimplemented } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { Faults } from '../faults.js';
import { applyMutations } from '../query/mutations.js';
import { fromProtoKeySet, fromProtoMutation, fromProtoParameters, toProtoTime } from './codec.js';
import { fingerprintOf } from './dml-replies.js';
import { pageOf } from './paging.js';
import type { google } from './protos.js';
import { decodeToken, toPartialResultSets, toResultSet, type Outcome } from './results.js';
import type { Handlers } from './server.js';
import { toProtoSession, type Session, type Sessions } from './sessions.js';
import type { Statements } from './statements.js';
import { begin, checkReadWriteOptions, injectAbort, retryOf, select, type Selected } from './transaction-selection.js';
import type { ReadWriteHandle } from './transaction-table.js';

type V1 = typeof google.spanner.v1;
type Request<K extends keyof V1> = V1[K] extends abstract new (...args: never[]) => infer R ? R : never;
type Id = Uint8Array | null | undefined;

/** google.spanner.v1.ReadRequest.LockHint */
const LOCK_HINT_EXCLUSIVE = 2;

/** google.spanner.v1.Spanner: sessions, transactions, statements, reads and commits. */
export class SpannerService {
  constructor(
    private readonly sessions: Sessions,
    private readonly statements: Statements,
    private readonly faults: Faults,
  ) {}

  readonly handlers: Handlers = {
    CreateSession: ({ database, session }: google.spanner.v1.ICreateSessionRequest) =>
      toProtoSession(this.sessions.create(database ?? '', session ?? {})),
    BatchCreateSessions: (request: google.spanner.v1.IBatchCreateSessionsRequest) => ({
      session: this.sessions.createBatch(request).map(toProtoSession),
    }),
    GetSession: ({ name }: google.spanner.v1.IGetSessionRequest) => toProtoSession(this.sessions.use(name)),
    ListSessions: ({ database, filter, ...request }: google.spanner.v1.IListSessionsRequest) => {
      const { page, nextPageToken } = pageOf(this.sessions.list(database ?? '', filter), request);
      return { sessions: page.map(toProtoSession), nextPageToken };
    },
    DeleteSession: ({ name }: google.spanner.v1.IDeleteSessionRequest) => {
      this.sessions.delete(name);
      return {};
    },
    BeginTransaction: (request: Request<'BeginTransactionRequest'>) => this.beginTransaction(request),
    ExecuteSql: async (request: Request<'ExecuteSqlRequest'>) => toResultSet(await this.executeSql(request)),
    ExecuteStreamingSql: async (request: Request<'ExecuteSqlRequest'>) =>
      this.partials(await this.executeSql(request), request, 'ExecuteStreamingSql'),
    ExecuteBatchDml: (request: Request<'ExecuteBatchDmlRequest'>) => this.executeBatchDml(request),
    Read: async (request: Request<'ReadRequest'>) => toResultSet(await this.read(request)),
    StreamingRead: async (request: Request<'ReadRequest'>) =>
      this.partials(await this.read(request), request, 'StreamingRead'),
    Commit: (request: Request<'CommitRequest'>) => this.commit(request),
    Rollback: (request: Request<'RollbackRequest'>) => this.rollback(request),
    BatchWrite: (request: Request<'BatchWriteRequest'>) => this.batchWrite(request),
  };

  private async beginTransaction(request: Request<'BeginTransactionRequest'>) {
    const session = this.sessions.use(request.session);
    const { kind, metadata, ...rest } = await begin(session, request.options ?? {});
    if (kind === 'snapshot') return metadata;
    return { ...metadata, ...precommit(session, (rest as { handle: ReadWriteHandle }).handle) };
  }

  private async executeSql(request: Request<'ExecuteSqlRequest'>): Promise<Outcome> {
    const session = this.sessions.use(request.session);
    if (Number(request.queryMode) !== 0) throw unimplemented('query modes other than NORMAL');
    if (request.partitionToken.length > 0) throw unimplemented('partitioned queries');
    const sql = { sql: request.sql, parameters: fromProtoParameters(request) };
    const isDml = this.statements.isDml(request.sql);
    if (isDml && !request.transaction?.id?.length && !request.transaction?.begin) {
      throw invalidArgument('DML statements may not be performed in single-use transactions, to avoid replay.');
    }
    return this.inTransaction(session, request, async (selected) => {
      if (!isDml || selected.kind === 'snapshot') return this.statements.execute(sql, session, selected);
      const fingerprint = fingerprintOf('ExecuteSql', [sql]);
      return selected.handle.replies.once(Number(request.seqno), fingerprint, () =>
        this.statements.execute(sql, session, selected),
      );
    });
  }

  private async read(request: Request<'ReadRequest'>): Promise<Outcome> {
    const session = this.sessions.use(request.session);
    if (request.partitionToken.length > 0) throw unimplemented('partitioned reads');
    if (request.table === '') throw invalidArgument('Read does not specify table.');
    if (!request.keySet) throw invalidArgument('No value provided for required field: ReadRequest.key_set');
    const table = session.database.schema.table(request.table);
    if (!table) throw notFound(`Table not found: ${request.table}`);
    const { index, columns } = request;
    const keySet = fromProtoKeySet(request.keySet);
    const exclusive = Number(request.lockHint) === LOCK_HINT_EXCLUSIVE;
    const limit = Number(request.limit);
    return this.inTransaction(session, request, (selected) => {
      if (exclusive && selected.kind === 'snapshot')
        throw unimplemented('lock hints outside of read-write transactions');
      return this.statements.read({ table, index, columns, keySet, limit, exclusive }, selected);
    });
  }

  /** Runs in the selected transaction. Ends a transaction that was begun for this request if the request fails. */
  private async inTransaction(
    session: Session,
    { transaction, resumeToken }: Pick<Request<'ReadRequest'>, 'transaction' | 'resumeToken'>,
    run: (selected: Selected) => Promise<Outcome>,
  ): Promise<Outcome> {
    const selected = await select(session, transaction, this.faults);
    const resumeAt = decodeToken(resumeToken)?.at;
    try {
      const outcome = await run(
        selected.kind === 'snapshot' && resumeAt !== undefined ? { ...selected, at: resumeAt } : selected,
      );
      if (selected.kind === 'snapshot') return { ...outcome, transaction: selected.metadata };
      return { ...outcome, transaction: selected.metadata, ...precommit(session, selected.handle) };
    } catch (error) {
      if (selected.kind === 'readWrite') this.failed(session, selected.handle, selected.metadata !== undefined, error);
      throw error;
    }
  }

  private failed(
    session: Session,
    { kind, transaction }: ReadWriteHandle,
    unknownToClient: boolean,
    error: unknown,
  ): void {
    if (transaction.wasAborted) session.lastAborted = transaction;
    else if (kind === 'partitionedDml') transaction.fail(error);
    else if (unknownToClient) transaction.rollback();
  }

  private partials(outcome: Outcome, request: { readonly resumeToken: Uint8Array | string }, method: string): object[] {
    const rows = this.faults.mayBreak(method) ? 1 : undefined;
    return toPartialResultSets(outcome, decodeToken(request.resumeToken)?.sent, rows);
  }

  private async executeBatchDml(request: Request<'ExecuteBatchDmlRequest'>) {
    const session = this.sessions.use(request.session);
    if (request.statements.length === 0) throw invalidArgument('No statements in batch DML request.');
    const selected = await select(session, request.transaction, this.faults);
    if (selected.kind === 'snapshot') throw invalidArgument('Batch DML requires a read-write transaction.');
    const statements = request.statements.map((one) => ({ sql: one.sql ?? '', parameters: fromProtoParameters(one) }));
    const { transaction, replies } = selected.handle;
    return replies.once(Number(request.seqno), fingerprintOf('ExecuteBatchDml', statements), async () => {
      // If the transaction is over, the whole request fails, and not its first statement.
      transaction.assertUsable('read or query');
      const resultSets: object[] = [];
      let status: google.rpc.IStatus = { code: Code.OK };
      for (const statement of statements) {
        try {
          if (!this.statements.isDml(statement.sql))
            throw invalidArgument(`Batch DML takes no queries: ${statement.sql}`);
          const outcome = await this.statements.execute(statement, session, selected);
          const begun = resultSets.length === 0 ? selected.metadata : undefined;
          resultSets.push(toResultSet({ ...outcome, transaction: begun }));
        } catch (error) {
          // Earlier statements stay applied. An abort undoes all of them, and fails the whole request.
          this.failed(session, selected.handle, selected.metadata !== undefined && resultSets.length === 0, error);
          if (!(error instanceof SpannerError) || error.code === Code.ABORTED) throw error;
          status = { code: error.code, message: error.message };
          break;
        }
      }
      return { resultSets, status, ...precommit(session, selected.handle) };
    });
  }

  private async commit(request: Request<'CommitRequest'>) {
    const session = this.sessions.use(request.session);
    const handle = this.commitHandle(session, request);
    injectAbort(handle, this.faults);
    if (request.returnCommitStats) throw unimplemented('commit statistics');
    try {
      const at = await this.applyAndCommit(session, handle, request.mutations);
      return { commitTimestamp: toProtoTime(at) };
    } catch (error) {
      this.failed(session, handle, request.singleUseTransaction !== null, error);
      throw error;
    }
  }

  private commitHandle(session: Session, request: Request<'CommitRequest'>): ReadWriteHandle {
    const { singleUseTransaction } = request;
    if (singleUseTransaction) {
      if (!singleUseTransaction.readWrite) throw invalidArgument('A single-use commit needs a read-write transaction.');
      checkReadWriteOptions(singleUseTransaction);
      return session.transactions.beginReadWrite(session.name, 'readWrite', retryOf(session, singleUseTransaction));
    }
    const id = request.transactionId as Id;
    if (!id?.length) throw invalidArgument('No value provided for required field: CommitRequest.transaction');
    return this.readWriteHandle(session, id);
  }

  private readWriteHandle(session: Session, id: Uint8Array): ReadWriteHandle {
    const handle = session.transactions.find(id, session.name);
    if (handle.kind === 'readWrite') return handle;
    throw new SpannerError(
      Code.FAILED_PRECONDITION,
      'Cannot commit or rollback a read-only or partitioned-dml transaction.',
    );
  }

  private applyAndCommit(
    { database }: Session,
    { transaction }: ReadWriteHandle,
    mutations: readonly google.spanner.v1.IMutation[],
  ): Nanos | Promise<Nanos> {
    return transaction.commit((work) => applyMutations(mutations.map(fromProtoMutation), database.schema, work));
  }

  private rollback({ session: name, transactionId }: Request<'RollbackRequest'>): object {
    const session = this.sessions.use(name);
    this.readWriteHandle(session, transactionId as Uint8Array).transaction.rollback();
    return {};
  }

  /** Each group is a separate transaction, which succeeds or fails independently. */
  private async batchWrite(request: Request<'BatchWriteRequest'>) {
    const session = this.sessions.use(request.session);
    const responses: google.spanner.v1.IBatchWriteResponse[] = [];
    for (const [i, { mutations }] of request.mutationGroups.entries()) {
      const handle = session.transactions.beginReadWrite(session.name, 'readWrite');
      try {
        const at = await this.applyAndCommit(session, handle, mutations ?? []);
        responses.push({ indexes: [i], status: { code: Code.OK }, commitTimestamp: toProtoTime(at) });
      } catch (error) {
        if (!(error instanceof SpannerError)) throw error;
        responses.push({ indexes: [i], status: { code: error.code, message: error.message } });
      }
    }
    return responses;
  }
}

/** On multiplexed sessions, Spanner returns tokens that the client must send with the commit. */
const precommit = (session: Session, { id }: ReadWriteHandle) =>
  session.multiplexed ? { precommitToken: { precommitToken: id, seqNum: 1 } } : {};
