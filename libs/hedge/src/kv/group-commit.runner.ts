import { type LogTable, MOST_TRANSACTION_ITEMS, OVERWRITE_ID, type TransactionOutcome } from '../database/log-table.js';
import { outsideContext } from '../common/async/async-context.js';
import type { Clock } from '../common/clock.js';
import { codeOf, HedgeError } from '../common/errors.js';
import { bytesPayload, type RequestHandler } from '../messaging/message.js';
import type { RequestType } from '../messaging/request-type.js';
import { Timeline } from '../messaging/server/timeline.js';
import {
  KvConditionalPut,
  KvConditionalPutDone,
  KvPut,
  KvPutDone,
  KvTransaction,
  KvTransactionDone,
  type KvTransactionItem,
  RequestKind,
} from '../wire/hedge/v1/link.js';
import { GroupCommit } from './group-commit.core.js';
import type {
  GroupCommitEffect,
  GroupCommitInput,
  GroupCommitLimits,
  PutItem,
  PutRow,
  PutTransaction,
  Write,
} from './group-commit.messages.js';
import type { ExpiringPut, ExpiryRunner } from './expiry/expiry.runner.js';
import { assertKey, assertTtl } from './kv-limits.js';
import { processMessage } from '../telemetry/tracing.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

export interface GroupCommitterOptions {
  readonly log: LogTable;
  readonly clock: Clock;
  /** Row name of the election lease, whose token fences fenced puts. */
  readonly lease: string;
  /** Returns the advertised address of this pod, for each row. Called late, because the start may choose the port. */
  readonly address: () => string;
  readonly limits: GroupCommitLimits;
  /** Called after each transaction with the keys of its rows, also if its outcome is unknown. */
  readonly onCommitted?: (keys: readonly string[]) => void;
  readonly metrics?: Metrics | undefined;
}

/** The commit time of a transaction, or the items whose conditions do not hold. */
export type TransactionResult = Exclude<TransactionOutcome, HedgeError>;

interface PendingPut {
  resolve(result: TransactionResult): void;
  reject(error: HedgeError): void;
}

/** Runs `GroupCommit` on the leader. */
export class GroupCommitter {
  readonly #core: GroupCommit;
  readonly #puts = new Map<number, PendingPut>();
  /** After a machine has slept, no put is tried for longer than its caller allowed: retention relies on that. */
  readonly #timeline = new Timeline();
  #tickets = 0;
  #cancelWake: () => void = () => undefined;

  constructor(private readonly options: GroupCommitterOptions) {
    this.#core = new GroupCommit(options.limits);
  }

  /**
   * Resolves with the commit time in nanoseconds when the row is durable. While a call to the database is in flight, it
   * may settle later than `timeoutMs`, by that one call.
   * @throws HedgeError DEADLINE_EXCEEDED, OVERLOADED, CONFLICT, INVALID_ARGUMENT, LEASE_LOST, OUTCOME_UNKNOWN, see
   *   `GroupCommit`.
   */
  async put(row: PutRow, timeoutMs: number): Promise<bigint> {
    const { timestamp } = (await this.#put(row, timeoutMs)) as { readonly timestamp: bigint };
    return timestamp;
  }

  /**
   * The same for rows with conditions. Resolves with the refused items when a condition does not hold.
   * @throws HedgeError as `put`
   */
  transact(transaction: PutTransaction, timeoutMs: number): Promise<TransactionResult> {
    return this.#put(transaction, timeoutMs);
  }

  #put(write: Write, timeoutMs: number): Promise<TransactionResult> {
    return new Promise((resolve, reject) => {
      const ticket = (this.#tickets += 1);
      this.#puts.set(ticket, { resolve, reject });
      this.#step({ type: 'put', ticket, write, deadline: this.#now() + timeoutMs });
    });
  }

  #now(): number {
    return this.#timeline.advance(this.options.clock.now());
  }

  #step(input: GroupCommitInput): void {
    const now = this.#now();
    for (const effect of this.#core.step(input, now)) this.#perform(effect, now);
  }

  /** A commit serves many puts, so it belongs to the trace of none. */
  #perform(effect: GroupCommitEffect, now: number): void {
    switch (effect.type) {
      case 'append':
        outsideContext(() => void this.#append(effect.rows, effect.fence));
        return;
      case 'append-if':
        outsideContext(() => void this.#appendIf(effect.transactions, effect.fence));
        return;
      case 'overwrite':
        outsideContext(() => void this.#overwrite(effect.run, effect.row));
        return;
      case 'settle': {
        const put = this.#puts.get(effect.ticket);
        this.#puts.delete(effect.ticket);
        if (effect.outcome instanceof HedgeError) put?.reject(effect.outcome);
        else put?.resolve(effect.outcome);
        return;
      }
      case 'wake': {
        const flush = (): void => this.#step({ type: 'flush' });
        this.#cancelWake();
        if (effect.at > now) {
          this.#cancelWake = this.options.clock.after(effect.at - now, flush);
          return;
        }
        // The end of this turn of the event loop: all puts of one network message have been read by then.
        const immediate = outsideContext(() => setImmediate(flush));
        this.#cancelWake = () => clearImmediate(immediate);
      }
    }
  }

  async #append(rows: readonly PutRow[], fence: bigint): Promise<void> {
    const leader = this.options.address();
    const appends = rows.map(({ key, id, value }) => ({ key, id, value, leader }));
    const keys = rows.map(({ key }) => key);
    await this.#commit(keys, () => this.options.log.append(appends, this.#fence(fence)));
  }

  async #appendIf(transactions: readonly PutTransaction[], fence: bigint): Promise<void> {
    const leader = this.options.address();
    const withLeader = transactions.map(({ items }) =>
      items.map(({ key, append, condition }) => ({ key, append: append && { ...append, leader }, condition })),
    );
    const keys = withLeader.flat().flatMap(({ key, append }) => (append === undefined ? [] : [key]));
    await this.#commit(keys, () => this.options.log.appendIf(withLeader, this.#fence(fence)));
  }

  /** One transaction of the database, of appends to these keys. */
  async #commit(keys: readonly string[], write: () => Promise<readonly TransactionOutcome[]>): Promise<void> {
    const start = this.#now();
    let input: GroupCommitInput;
    try {
      input = { type: 'appended', outcomes: await write() };
    } catch (error) {
      input = { type: 'append-failed', error, random: Math.random() };
    }
    this.options.onCommitted?.(keys);
    this.#committed(keys.length, start, input.type === 'append-failed' ? input.error : undefined);
    this.#step(input);
  }

  async #overwrite(run: number, { key, value, fence }: PutRow): Promise<void> {
    const leader = this.options.address();
    const start = this.#now();
    let input: GroupCommitInput;
    try {
      const { timestamp } = await this.options.log.overwrite({ key, value, leader }, this.#fence(fence));
      input = { type: 'overwritten', run, timestamp };
    } catch (error) {
      input = { type: 'overwrite-failed', run, error, random: Math.random() };
    }
    this.options.onCommitted?.([key]);
    this.#committed(1, start, input.type === 'overwrite-failed' ? input.error : undefined);
    this.#step(input);
  }

  #committed(rows: number, start: number, error: unknown): void {
    const { metrics = NO_METRICS } = this.options;
    if (!metrics.listening) return;
    const outcome = error === undefined ? 'OK' : codeOf(error);
    metrics.record('hedge.kv.batch.size', rows);
    metrics.record('hedge.kv.commit.duration', (this.#now() - start) / 1_000, { outcome });
  }

  #fence(token: bigint): { lease: string; token: bigint } | undefined {
    return token === 0n ? undefined : { lease: this.options.lease, token };
  }
}

/**
 * A put to the leader. Handlers and jobs that a drain waits for may need a put to end, so the leader accepts those of its
 * own pod until it releases the lease.
 */
export const KV_PUT: RequestType = {
  kind: RequestKind.REQUEST_KIND_KV_PUT,
  name: 'put',
  runsAt: 'leader',
  duringDrain: 'accepted from this pod',
  slots: 'puts',
  mayUseReserve: false,
};

/** A put with a condition. A kind of its own, so that a leader that does not know conditions refuses it. */
export const KV_CONDITIONAL_PUT: RequestType = { ...KV_PUT, kind: RequestKind.REQUEST_KIND_KV_CONDITIONAL_PUT };

/** Several rows and conditions at once. A kind of its own for the same reason. */
export const KV_TRANSACTION: RequestType = {
  ...KV_PUT,
  kind: RequestKind.REQUEST_KIND_KV_TRANSACTION,
  name: 'transaction',
};

/** Of the id, the leader and the frame of a refused item, in a message. */
const REFUSED_ITEM_BYTES = 128;

/** Serves `KvStore.put` on the leader. */
export function kvPutHandler(committer: GroupCommitter, address: () => string): RequestHandler {
  return traced(async ({ payload, timeoutMs, epoch }) => {
    const put = decode(KvPut, payload.bytes);
    assertRow(put);
    // A late append only adds a version, but a late overwrite undoes a put that the next leader has acknowledged.
    const fence = put.overwrite && put.fence === 0n ? epoch : put.fence;
    const timestamp = await committer.put({ ...put, fence }, timeoutMs);
    return bytesPayload(KvPutDone.encode({ timestamp, leader: address() }).finish());
  });
}

/** Serves `KvStore.put` with a condition on the leader. */
export function kvConditionalPutHandler(committer: GroupCommitter, address: () => string): RequestHandler {
  return traced(async ({ payload, timeoutMs }) => {
    const { follows, fence, ...put } = decode(KvConditionalPut, payload.bytes);
    assertRow(put);
    const { key, id, value } = put;
    const result = await committer.transact(
      { items: [{ key, append: { id, value }, condition: { follows } }], fence },
      timeoutMs,
    );
    const done =
      'timestamp' in result
        ? { written: { timestamp: result.timestamp, leader: address() }, newest: undefined }
        : { written: undefined, newest: result.refused[0]?.newest };
    return bytesPayload(KvConditionalPutDone.encode(done).finish());
  });
}

/**
 * Serves `KvStore.transaction` on the leader, and puts with a time to live.
 * @param maxValueBytes of all values in a reply, with `REFUSED_ITEM_BYTES` for each but the first.
 */
export function kvTransactionHandler(
  committer: GroupCommitter,
  expiry: ExpiryRunner,
  address: () => string,
  maxValueBytes: number,
): RequestHandler {
  return traced(async ({ payload, timeoutMs, epoch, caller }) => {
    const { items, fence } = decode(KvTransaction, payload.bytes);
    assertItems(items);
    const puts: PutItem[] = items.map(({ key, id, value, condition }) => ({
      key,
      ...(id !== '' && { append: { id, value } }),
      ...(condition && { condition: { follows: condition.follows } }),
    }));
    const expiring = items.flatMap(({ key, id, ttlMs, whileAlive }): ExpiringPut[] => {
      if (id === '' || !(ttlMs > 0 || whileAlive)) return [];
      const { address, incarnation } = caller;
      return [{ key, id, lifetime: whileAlive ? { owner: { address, incarnation } } : { ttlMs } }];
    });
    const result =
      expiring.length === 0
        ? await committer.transact({ items: puts, fence }, timeoutMs)
        : await putExpiring(puts, expiring, fence, epoch, timeoutMs);
    if ('timestamp' in result) {
      const written = { timestamp: result.timestamp, leader: address() };
      return bytesPayload(KvTransactionDone.encode({ written, refused: [] }).finish());
    }
    let left = maxValueBytes - (result.refused.length - 1) * REFUSED_ITEM_BYTES;
    const refused = result.refused.map(({ place, newest }) => {
      const bytes = Buffer.byteLength(newest?.value ?? '');
      const withoutValue = bytes > 0 && bytes > left;
      if (!withoutValue) left -= bytes;
      // The caller knows the key, which may be long.
      return { place, newest: newest && { ...newest, key: '', ...(withoutValue && { value: '' }) }, withoutValue };
    });
    return bytesPayload(KvTransactionDone.encode({ written: undefined, refused }).finish());
  });

  /** Fenced by the term: the next leader reads the expiry rows once, and must find all of this term. */
  async function putExpiring(
    puts: readonly PutItem[],
    expiring: readonly ExpiringPut[],
    fence: bigint,
    epoch: bigint,
    timeoutMs: number,
  ): Promise<TransactionResult> {
    // The next leader may have read the expiry rows.
    if (fence > epoch) throw leadsNoMore({ retryable: true });
    const items = [...puts, ...expiring.map((put) => expiry.rowOf(put))];
    try {
      return await expiry.follow(expiring, () =>
        committer.transact({ items, fence: fence === 0n ? epoch : fence }, timeoutMs),
      );
    } catch (error) {
      throw fence === 0n ? ofNextLeader(error) : error;
    }
  }
}

/**
 * The error of a put that its caller has not fenced, and this leader has. The next leader tries a put again that failed because
 * the term is over. It finds the row, if an earlier attempt has written it.
 */
export function ofNextLeader(error: unknown): unknown {
  if (!isLeaseLost(error)) return error;
  return leadsNoMore({ cause: error, retryable: error.code === 'LEASE_LOST' });
}

function leadsNoMore(options: { readonly cause?: HedgeError; readonly retryable: boolean }): HedgeError {
  return new HedgeError('NOT_LEADER', 'This pod is not the leader any more', options);
}

/** The term was over before the last attempt of a put; an earlier attempt may have written it. */
function isLeaseLost(error: unknown): error is HedgeError {
  if (!(error instanceof HedgeError)) return false;
  return error.code === 'LEASE_LOST' || (error.code === 'OUTCOME_UNKNOWN' && isLeaseLost(error.cause));
}

function traced(handler: RequestHandler): RequestHandler {
  return (request) => processMessage('put', request, () => handler(request));
}

/**
 * Checked here, too, so that a pod of another version cannot write a row of the library itself.
 * @throws HedgeError INVALID_ARGUMENT
 */
function assertRow({ key, id }: { readonly key: string; readonly id: string }): void {
  assertKey(key);
  if (id !== '' && id !== OVERWRITE_ID) return;
  throw new HedgeError('INVALID_ARGUMENT', `put "${key}" was refused: its row id is "${id}". Update the calling pod.`);
}

/**
 * As `assertRow`. The database would refuse these transactions together with others that share its transaction.
 * @throws HedgeError INVALID_ARGUMENT
 */
function assertItems(items: readonly KvTransactionItem[]): void {
  let rows = items.length;
  for (const { key, id, ttlMs, whileAlive } of items) {
    if (id === '') assertKey(key);
    else assertRow({ key, id });
    if (ttlMs !== 0) assertTtl(`put "${key}"`, ttlMs);
    if (ttlMs !== 0 || whileAlive) rows += 1;
  }
  const keys = new Set(items.map(({ key }) => key));
  const isSound = rows <= MOST_TRANSACTION_ITEMS && keys.size === items.length && items.some(({ id }) => id !== '');
  if (isSound) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `A transaction of ${items.length} items was refused: it must have 1 to ${MOST_TRANSACTION_ITEMS} distinct keys and a row. Update the calling pod.`,
  );
}

function decode<Message>(type: { decode(bytes: Uint8Array): Message }, bytes: Uint8Array): Message {
  try {
    return type.decode(bytes);
  } catch (cause) {
    throw new HedgeError('INVALID_ARGUMENT', 'A put was refused: it cannot be decoded. Update the calling pod.', {
      cause,
    });
  }
}
