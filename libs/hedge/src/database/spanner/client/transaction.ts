import { hasEndedTransaction, surelyNotCommitted } from './failures.js';
import type {
  Mutation,
  ParamType,
  PrecommitToken,
  ProtoValue,
  ResultSet,
  TransactionOptions,
  TransactionSelector,
} from './protocol.js';
import type { SpannerRpc } from './rpc.js';
import { fromProto, fromProtoTime, toProto, type Column, type Param, type Row, type Statement } from './values.js';

/** The state that all attempts of one operation share. */
export interface Operation {
  /** The time for all attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** 0 after the caller was notified of the outcome. */
  remainingMs(): number;
  /** A commit was sent whose outcome is unknown. */
  inDoubt: boolean;
}

/** In a mutation: the time of the commit that applies it. */
export const COMMIT_TIMESTAMP = 'spanner.commit_timestamp()';

/**
 * One read-write transaction. It begins with its first read, without a separate call, and ends with its commit.
 *
 * It requests SERIALIZABLE, because a database or the user's client may default to less. It is optimistic: a read takes
 * no locks, and the commit is ABORTED if the read rows have changed. With locks, a process that dies between read and
 * commit would block all others for the 10 s after which Spanner takes the locks of an idle transaction away (L4).
 * @see https://cloud.google.com/spanner/docs/concurrency-control
 */
export class Transaction {
  #id: Uint8Array | undefined;
  #precommitToken: PrecommitToken | undefined;
  #seqno = 0;
  #over = false;

  /** @param retryOf the previous attempt: Spanner gives this one its priority. */
  constructor(
    private readonly rpc: SpannerRpc,
    private readonly session: string,
    private readonly operation: Operation,
    private readonly retryOf: Uint8Array | undefined,
  ) {}

  get id(): Uint8Array | undefined {
    return this.#id;
  }

  async query(statement: Statement): Promise<Row[]> {
    const request = { ...statementRequest(this.session, this.#selector(), statement), seqno: ++this.#seqno };
    return this.#note(this.rpc.call('executeSql', request, this.operation.remainingMs()));
  }

  /** The existing rows with these keys, in no particular order. */
  async read(table: string, columns: readonly string[], keys: readonly Row[]): Promise<Row[]> {
    const keySet = { keys: keys.map((key) => ({ values: key.map(toProto) })) };
    const request = { session: this.session, transaction: this.#selector(), table, columns, keySet };
    return this.#note(this.rpc.call('read', request, this.operation.remainingMs()));
  }

  /**
   * Applies the mutations and ends the transaction.
   * @returns the commit timestamp in nanoseconds.
   */
  async commit(mutations: readonly Mutation[]): Promise<bigint> {
    if (this.#id === undefined) throw new Error('a transaction begins with a read');
    const wasInDoubt = this.operation.inDoubt;
    this.operation.inDoubt = true;
    const { session } = this;
    for (;;) {
      const token = this.#precommitToken && { precommitToken: this.#precommitToken };
      const request = { session, transactionId: this.#id, mutations, ...token };
      const response = await this.rpc.call('commit', request, this.operation.remainingMs()).catch((error: unknown) => {
        if (surelyNotCommitted(error)) this.operation.inDoubt = wasInDoubt;
        if (hasEndedTransaction(error)) this.#over = true;
        throw error;
      });
      if (response.commitTimestamp) {
        this.#over = true;
        return fromProtoTime(response.commitTimestamp);
      }
      this.#keepToken(response.precommitToken);
    }
  }

  /** Rolls back, unless the transaction was committed. No code waits for that: the transaction holds no locks. */
  abandon(): void {
    if (this.#over || this.#id === undefined) return;
    this.#over = true;
    const request = { session: this.session, transactionId: this.#id };
    this.rpc.call('rollback', request, this.operation.timeoutMs).catch(() => undefined);
  }

  #selector(): TransactionSelector {
    if (this.#id !== undefined) return { id: this.#id };
    const retry = this.retryOf && { multiplexedSessionPreviousTransactionId: this.retryOf };
    const readWrite = { readLockMode: 'OPTIMISTIC', ...retry } as const;
    const begin: TransactionOptions = { readWrite, isolationLevel: 'SERIALIZABLE' };
    return { begin };
  }

  async #note(answer: Promise<ResultSet>): Promise<Row[]> {
    try {
      const result = await answer;
      this.#id ??= result.metadata?.transaction?.id ?? undefined;
      this.#keepToken(result.precommitToken);
      return rowsOf(result);
    } catch (error) {
      if (hasEndedTransaction(error)) this.#over = true;
      throw error;
    }
  }

  /** The commit must send back the latest token that Spanner sent during the transaction. */
  #keepToken(token: PrecommitToken | null | undefined): void {
    if (token && token.seqNum > (this.#precommitToken?.seqNum ?? -1)) this.#precommitToken = token;
  }
}

export function statementRequest(session: string, transaction: TransactionSelector, { sql, params }: Statement) {
  const entries = Object.entries(params);
  const fields = Object.fromEntries(entries.map(([name, param]) => [name, paramValue(param)]));
  const paramTypes = Object.fromEntries(entries.map(([name, { code }]) => [name, paramType(code)]));
  return { session, transaction, sql, params: { fields }, paramTypes };
}

function paramValue({ value }: Param): ProtoValue {
  return typeof value === 'string' ? toProto(value) : { listValue: { values: value.map(toProto) } };
}

function paramType(code: Param['code']): ParamType {
  return code === 'ARRAY' ? { code, arrayElementType: { code: 'STRING' } } : { code };
}

export function rowsOf({ rows }: ResultSet): Row[] {
  return (rows ?? []).map(({ values }) => values.map(fromProto));
}

/** One row of a mutation. */
export function rowValues(...row: readonly Column[]) {
  return { values: row.map(toProto) };
}
