import { randomBytes } from 'node:crypto';
import { notFound } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { Database } from '../storage/database.js';
import type { Transaction } from '../storage/transaction.js';
import { DmlReplies } from './dml-replies.js';

/** The transaction with an id of a client. */
export type TransactionHandle =
  { readonly kind: 'readOnly'; readonly id: Buffer; readonly session: string; readonly at: Nanos } | ReadWriteHandle;

export interface ReadWriteHandle {
  readonly kind: 'readWrite' | 'partitionedDml';
  readonly id: Buffer;
  readonly session: string;
  readonly transaction: Transaction;
  readonly replies: DmlReplies;
}

/** Limit of the remembered transactions, for the repetition of a commit whose answer was lost. */
const REMEMBERED = 10_000;

/** The transactions of one database by id. Forgets the oldest that are over. */
export class TransactionTable {
  private readonly handles = new Map<string, TransactionHandle>();
  /** Differs between runs of the server, so that an id of an earlier run is unknown in this one. */
  private readonly run = randomBytes(4).toString('hex');
  private count = 0;

  constructor(private readonly database: Database) {}

  beginReadOnly(session: string, at: Nanos): TransactionHandle {
    return this.add({ kind: 'readOnly', id: this.newId(), session, at });
  }

  beginReadWrite(
    session: string,
    kind: ReadWriteHandle['kind'],
    retryOf?: Transaction,
    optimistic?: boolean,
  ): ReadWriteHandle {
    const transaction = this.database.begin(retryOf, optimistic);
    return this.add({ kind, id: this.newId(), session, transaction, replies: new DmlReplies() });
  }

  find(id: Uint8Array, session: string): TransactionHandle {
    const handle = this.peek(id);
    if (handle?.session !== session) throw notFound(`Transaction not found: ${Buffer.from(id).toString()}`);
    return handle;
  }

  /** The transaction of any session; undefined if it is unknown. */
  peek(id: Uint8Array): TransactionHandle | undefined {
    return this.handles.get(Buffer.from(id).toString('latin1'));
  }

  /** Ends all transactions of a session. */
  abandon(session: string): void {
    for (const [key, handle] of this.handles) {
      if (handle.session !== session) continue;
      if (handle.kind !== 'readOnly') handle.transaction.abort('Transaction aborted: its session is gone.');
      this.handles.delete(key);
    }
  }

  private newId(): Buffer {
    this.count++;
    return Buffer.from(`${this.run}-${this.count}`);
  }

  private add<H extends TransactionHandle>(handle: H): H {
    this.handles.set(handle.id.toString('latin1'), handle);
    for (const [key, oldest] of this.handles) {
      if (this.handles.size <= REMEMBERED) break;
      if (oldest.kind === 'readOnly' || !oldest.transaction.isActive) this.handles.delete(key);
    }
    return handle;
  }
}
