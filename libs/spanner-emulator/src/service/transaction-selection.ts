import { setTimeout as sleep } from 'node:timers/promises';
import { invalidArgument, unimplemented } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { Faults } from '../faults.js';
import type { Database, ReadBound } from '../storage/database.js';
import { fromProtoReadTimestamp, fromProtoTime, toProtoTime } from './codec.js';
import type { google } from './protos.js';
import type { Session } from './sessions.js';
import type { ReadWriteHandle } from './transaction-table.js';

type Options = google.spanner.v1.ITransactionOptions;
type ReadOnly = google.spanner.v1.TransactionOptions.IReadOnly;
type Metadata = google.spanner.v1.ITransaction;

/** google.spanner.v1.TransactionOptions.IsolationLevel */
const REPEATABLE_READ = 2;

/** google.spanner.v1.TransactionOptions.ReadWrite.ReadLockMode */
const OPTIMISTIC = 2;

/** The transaction of a request. `metadata` describes a new transaction to the client. */
export type Selected =
  | { readonly kind: 'snapshot'; readonly at: Nanos; readonly metadata?: Metadata }
  | { readonly kind: 'readWrite'; readonly handle: ReadWriteHandle; readonly metadata?: Metadata };

const readBound = (options: ReadOnly): ReadBound => {
  if (options.readTimestamp) return { kind: 'exact', at: fromProtoReadTimestamp(options.readTimestamp, 'exact') };
  if (options.minReadTimestamp)
    return { kind: 'notBefore', at: fromProtoReadTimestamp(options.minReadTimestamp, 'min') };
  if (options.exactStaleness) return { kind: 'exactStaleness', nanos: fromProtoTime(options.exactStaleness) };
  if (options.maxStaleness) return { kind: 'maxStaleness', nanos: fromProtoTime(options.maxStaleness) };
  return { kind: 'strong' };
};

/** The read timestamp. Waits for a future timestamp. */
const readTimestamp = async (database: Database, bound: ReadBound): Promise<Nanos> => {
  for (;;) {
    const answer = database.readTimestamp(bound);
    if ('at' in answer) return answer.at;
    await sleep(answer.waitMs);
  }
};

export const checkReadWriteOptions = (options: Options): void => {
  if (Number(options.isolationLevel ?? 0) === REPEATABLE_READ)
    throw unimplemented('the isolation level REPEATABLE_READ');
};

/** BeginTransaction, as a separate call or in the first request of the transaction. */
export const begin = async (session: Session, options: Options): Promise<Required<Selected>> => {
  if (options.readOnly) {
    if (options.readOnly.minReadTimestamp ?? options.readOnly.maxStaleness) {
      throw invalidArgument('Bounded staleness for a read can be only be used for a single use transaction.');
    }
    const at = await readTimestamp(session.database, readBound(options.readOnly));
    const { id } = session.transactions.beginReadOnly(session.name, at);
    const metadata = { id, ...(options.readOnly.returnReadTimestamp ? { readTimestamp: toProtoTime(at) } : {}) };
    return { kind: 'snapshot', at, metadata };
  }
  if (!options.readWrite && !options.partitionedDml) throw invalidArgument('Transaction mode is required.');
  checkReadWriteOptions(options);
  const kind = options.partitionedDml ? 'partitionedDml' : 'readWrite';
  const optimistic = Number(options.readWrite?.readLockMode ?? 0) === OPTIMISTIC;
  const handle = session.transactions.beginReadWrite(session.name, kind, retryOf(session, options), optimistic);
  return { kind: 'readWrite', handle, metadata: { id: handle.id } };
};

/** A retry keeps its precedence, so that it is not aborted forever. On a multiplexed session, the client names the aborted transaction. */
export const retryOf = (session: Session, options: Options): ReadWriteHandle['transaction'] | undefined => {
  const previous = options.readWrite?.multiplexedSessionPreviousTransactionId;
  if (!session.multiplexed) return session.lastAborted;
  const handle = previous instanceof Uint8Array ? session.transactions.peek(previous) : undefined;
  return handle && handle.kind !== 'readOnly' ? handle.transaction : undefined;
};

const singleUse = async (session: Session, options: Options | null | undefined): Promise<Selected> => {
  if (options && !options.readOnly) {
    throw invalidArgument('Transaction mode for read only single use transaction should be read_only.');
  }
  const at = await readTimestamp(session.database, readBound(options?.readOnly ?? {}));
  return {
    kind: 'snapshot',
    at,
    ...(options?.readOnly?.returnReadTimestamp ? { metadata: { readTimestamp: toProtoTime(at) } } : {}),
  };
};

/** Finds or begins the transaction of a statement or read, or creates a single-use one. */
export const select = async (
  session: Session,
  selector: google.spanner.v1.ITransactionSelector | null | undefined,
  faults: Faults,
): Promise<Selected> => {
  if (selector?.begin) return begin(session, selector.begin);
  if (!selector?.id?.length) return singleUse(session, selector?.singleUse);
  const handle = session.transactions.find(selector.id as Uint8Array, session.name);
  if (handle.kind === 'readOnly') return { kind: 'snapshot', at: handle.at };
  injectAbort(handle, faults);
  return { kind: 'readWrite', handle };
};

/** Aborts the transaction if a fault requires it. */
export const injectAbort = ({ transaction }: Pick<ReadWriteHandle, 'transaction'>, faults: Faults): void => {
  const fault = transaction.isActive ? faults.drawAbort() : undefined;
  if (fault) transaction.abort('Transaction was aborted. (Injected fault)', fault.retryDelayMs);
};
