import { randomBytes } from 'node:crypto';
import { invalidArgument, notFound } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { Database } from '../storage/database.js';
import type { Transaction } from '../storage/transaction.js';

/** What a client's transaction id stands for. */
export type TransactionHandle =
  { readonly kind: 'readOnly'; readonly id: Buffer; readonly session: string; readonly at: Nanos } | ReadWriteHandle;

export interface ReadWriteHandle {
  readonly kind: 'readWrite' | 'partitionedDml';
  readonly id: Buffer;
  readonly session: string;
  readonly transaction: Transaction;
  readonly replies: DmlReplies;
}

/** How many transactions are remembered: for the repetition of a commit whose answer got lost. */
const REMEMBERED = 10_000;

/** The transactions of one database by id. The oldest that are over are forgotten. */
export class TransactionTable {
  private readonly handles = new Map<string, TransactionHandle>();
  /** Differs between two runs of the server, so that an id of the last one is not taken for one of this one's. */
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

  /** Of any session, and possibly unknown. */
  peek(id: Uint8Array): TransactionHandle | undefined {
    return this.handles.get(Buffer.from(id).toString('latin1'));
  }

  /** Ends everything that a session had under way. */
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

/** The answers to a transaction's DML by sequence number: a request that is repeated is answered, not run, again. */
export class DmlReplies {
  private readonly replies = new Map<number, { readonly fingerprint: string; readonly reply: unknown }>();
  private last = -1;

  /** The earlier answer to this request, if there is one. */
  find<R>(seqno: number, fingerprint: string): R | undefined {
    const known = this.replies.get(seqno);
    if (!known) {
      if (seqno > 0 && seqno <= this.last) {
        throw invalidArgument(
          `Request has an out-of-order seqno. Request seqno=${seqno}. Last seen seqno=${this.last}. The sequence ` +
            'number must be monotonically increasing within the transaction.',
        );
      }
      return undefined;
    }
    if (known.fingerprint !== fingerprint) {
      throw invalidArgument(`Previously received a different request with this seqno. seqno=${seqno}`);
    }
    return known.reply as R;
  }

  /** Requests without a number (0) are not remembered. */
  remember(seqno: number, fingerprint: string, reply: unknown): void {
    if (seqno <= 0) return;
    this.last = Math.max(this.last, seqno);
    this.replies.set(seqno, { fingerprint, reply });
  }
}
