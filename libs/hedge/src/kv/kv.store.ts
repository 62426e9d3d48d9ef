import { checkKeys } from '../common/validation/check-keys.js';
import type { Clock } from '../common/clock.js';
import type { HistoryQuery, LogCondition, LogEntry, LogPlace, LogTable } from '../database/log-table.js';
import { KV_CONDITIONAL_PUT, KV_PUT, KV_TRANSACTION } from './group-commit.runner.js';
import { GREATEST_TIMESTAMP, isTombstone, OVERWRITE_ID, placeAt, TOMBSTONE_SUFFIX } from '../database/log-table.js';
import { isReservedKey, scanAfter } from '../database/row-names.js';
import { compareText } from '../database/text.js';
import { atCaller, HedgeError, messageOf } from '../common/errors.js';
import type { StartGate } from '../common/async/start-gate.js';
import { AliveKeys } from './expiry/alive-keys.js';
import { KvCache } from './watch/kv-cache.js';
import { KvReader } from './kv-reader.runner.js';
import { KvWatch } from './watch/kv-watch.js';
import type { WatchHub } from './watch/watch-hub.runner.js';
import { KV_COMPACT } from './retention/retention.runner.js';
import { LONGEST_PUT_MS } from './retention/retention.core.js';
import { RowIds } from './row-ids.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { beginMessage } from '../telemetry/tracing.js';
import { checkCallOptions, checkSignal } from '../messaging/call-options.js';
import { notJson } from '../messaging/json-values.js';
import { bytesPayload, NO_PAYLOAD, type OutgoingRequest } from '../messaging/message.js';
import type { Messenger } from '../messaging/messenger.js';
import {
  KvConditionalPut,
  KvConditionalPutDone,
  KvPut,
  KvPutDone,
  KvTransaction,
  KvTransactionDone,
} from '../wire/hedge/v1/link.js';
import {
  parseCursor,
  parseFrom,
  parseVersion,
  toKvEntry,
  type KvCursor,
  type KvEntry,
  type KvVersion,
} from './kv-entry.js';
import { KvTransactionCall, type KvOperation } from './kv-transaction.js';
import {
  assertAfter,
  assertCondition,
  assertExpiringKey,
  assertKey,
  assertLimit,
  assertPrefix,
  assertTtl,
  assertValue,
} from './kv-limits.js';

export interface KvPutOptions {
  /**
   * `true` (default): adds a version to the earlier ones. `false`: replaces the one value of the key that was put this way;
   * the appended versions stay. The library never repeats such a put, so a crash or a change of the leader during it
   * causes OUTCOME_UNKNOWN. After the election of another leader it fails with LEASE_LOST, so that it cannot undo a later
   * put.
   */
  readonly append?: boolean | undefined;
  /**
   * Writes only if no other leader has been elected, otherwise fails with LEASE_LOST. `true` means since this call; a token
   * means since that token. A leader task passes its own `fencingToken`, so that its late writes fail after another pod
   * took over. Default: no fence.
   */
  readonly fenced?: boolean | bigint | undefined;
  /**
   * Compare-and-set: writes only if this is the newest version of the key, otherwise fails with CONFLICT and nothing is
   * written. `details.entry` of the error is the version that is there. Give an entry (of `get`, `put`, `history` or a
   * CONFLICT), or its `version` and `id`. Not with `append: false`.
   */
  readonly ifVersion?: KvVersion;
  /** Writes only if the key has no value: never put, or deleted. Otherwise as `ifVersion`. */
  readonly ifAbsent?: boolean | undefined;
  /**
   * Time to live: the leader deletes the key this many milliseconds after the put, unless a later put has replaced it. A put
   * with `ttlMs` renews the key; one without keeps it for good. The key is never deleted earlier (K6). It is deleted later if
   * the database or the leader was away, and a new leader counts from the beginning. From 1,000 (a second) to 365 days. Not
   * with `append: false`.
   */
  readonly ttlMs?: number | undefined;
  /**
   * The leader deletes the key when this process has left the group or has stopped: at once when it stops in order, within
   * `timing.heartbeatTimeoutMs` after a crash. A pod that was cut off longer than that, and comes back, puts the key again if
   * nobody else has put or deleted it since. A later put without it keeps the key for good. Not with `ttlMs`, nor with
   * `append: false`, nor in a pod with `mode: 'client'`.
   */
  readonly whileAlive?: boolean | undefined;
  /**
   * Milliseconds until DEADLINE_EXCEEDED (or NO_LEADER). More than five minutes count as five minutes. Default: the module's
   * `defaultTimeoutMs`, 10 s.
   */
  readonly timeoutMs?: number | undefined;
  /** Stops waiting. The value may still be written. */
  readonly signal?: AbortSignal | undefined;
}

/** As in `KvPutOptions`; with `signal`, the key may still be deleted. */
export type KvDeleteOptions = Pick<KvPutOptions, 'fenced' | 'ifVersion' | 'timeoutMs' | 'signal'>;

/** As in `KvPutOptions`, for all writes of the transaction. */
export type KvTransactionOptions = Pick<KvPutOptions, 'fenced' | 'timeoutMs' | 'signal'>;

export interface KvGetOptions {
  /** Milliseconds until DEADLINE_EXCEEDED. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Stops waiting: the call fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface KvHistoryOptions {
  /** At most this many versions; Infinity for all. Default: 100. */
  readonly limit?: number | undefined;
  /** Default: `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first' | undefined;
  /** Only versions before this position. */
  readonly before?: KvCursor | undefined;
  /** Only versions after this position. */
  readonly after?: KvCursor | undefined;
  /** Stops reading: the call fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface KvWatchOptions {
  /**
   * The place behind which the watch begins: the last entry that you have seen, or its `key`, `version` and `id`. Or a
   * time: the watch shows what was committed at it or later. A `version` alone is refused, because all rows of one commit
   * have the same one. Default: the present.
   */
  readonly from?: Date | (KvVersion & Pick<KvEntry, 'key'>) | undefined;
  /** Ends the watch: `next()` fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface KvKeysOptions {
  /** At most this many keys; Infinity for all. Default: 1,000. */
  readonly limit?: number | undefined;
  /** Only keys that sort after this key: pass the last key of the previous page. */
  readonly after?: string | undefined;
  /** Stops reading: the call fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

const DELETE_OPTIONS = Object.keys({ fenced: 0, ifVersion: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof KvDeleteOptions,
  0
>);
const PUT_OPTIONS = [
  ...DELETE_OPTIONS,
  ...Object.keys({ append: 0, ifAbsent: 0, ttlMs: 0, whileAlive: 0 } satisfies Record<
    Exclude<keyof KvPutOptions, keyof KvDeleteOptions>,
    0
  >),
];
const TRANSACTION_OPTIONS = Object.keys({ fenced: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof KvTransactionOptions,
  0
>);
const GET_OPTIONS = Object.keys({ timeoutMs: 0, signal: 0 } satisfies Record<keyof KvGetOptions, 0>);
const HISTORY_OPTIONS = Object.keys({ limit: 0, order: 0, before: 0, after: 0, signal: 0 } satisfies Record<
  keyof KvHistoryOptions,
  0
>);
const WATCH_OPTIONS = Object.keys({ from: 0, signal: 0 } satisfies Record<keyof KvWatchOptions, 0>);
const KEYS_OPTIONS = Object.keys({ limit: 0, after: 0, signal: 0 } satisfies Record<keyof KvKeysOptions, 0>);

/** Of one call to the database, so that a long read does not go through all reserved keys either. */
const PAGE_KEYS = 5_000;

/** At the stop of a pod, for the deletion of its keys. */
const REMOVAL_MS = 2_000;

/** At least one of them is given. */
type PutLifetime = Pick<KvPutOptions, 'ttlMs' | 'whileAlive'>;

export interface KvStoreDeps {
  readonly gate: StartGate;
  readonly messenger: Messenger;
  readonly route: LeaderRoute;
  readonly log: LogTable;
  readonly hub: WatchHub;
  readonly clock: Clock;
  readonly defaultTimeoutMs: number;
  /** See `maxValueBytes` in kv-limits.ts. */
  readonly maxValueBytes: number;
  /** Prefix of each key in the log table. Callers do not see it. Default: ''. */
  readonly prefix?: string;
  /** Whether this pod is a member, and not a client. Default: true. */
  readonly isMember?: boolean;
}

/**
 * The key/value log of the group: every put adds a version, and versions never change.
 *
 * - An acknowledged put is durable and is never lost. A put that failed with DEADLINE_EXCEEDED or OUTCOME_UNKNOWN happened
 *   once or not at all (K1).
 * - All pods see the versions of a key in the same order. Each read sees every put that was acknowledged before the read
 *   began, on any pod (K2).
 * - A put with `ifVersion` or `ifAbsent` is written exactly if its condition holds, with no write in between (K4).
 * - The writes of a transaction become visible together, in one commit in which all its conditions hold, or none does (K5).
 * - A key with a time to live is not deleted before that time has passed since its last put (K6).
 *
 * Puts go to the leader, which commits concurrent puts together. Reads go from any pod directly to the database, also
 * while there is no leader.
 *
 * @example
 * await kv.put('orders/17', 'paid');
 * (await kv.get('orders/17'))?.value; // 'paid', on every pod
 */
export class KvStore {
  readonly #ids = new RowIds();
  readonly #reader: KvReader;
  readonly #prefix: string;
  /** Those of `whileAlive`: to notify of each view, and to end when this pod stops. @internal */
  readonly aliveKeys: AliveKeys;

  constructor(private readonly deps: KvStoreDeps) {
    this.#reader = new KvReader(deps);
    this.aliveKeys = new AliveKeys({
      clock: deps.clock,
      random: Math.random,
      newId: () => this.#ids.next(),
      newest: (key, signal) => this.#reader.get(this.#stored(key), `get "${key}"`, deps.defaultTimeoutMs, signal),
      put: (row, newest, signal) => this.#putAgain(row, newest, signal),
      remove: (key, ifVersion) => this.delete(key, { ifVersion, timeoutMs: REMOVAL_MS }),
    });
    this.#prefix = deps.prefix ?? '';
  }

  /**
   * Writes a value. Resolves with the written entry when it is durable.
   *
   * @param key 1 to 4,096 bytes in UTF-8, not beginning with `__hedge/` or `__caller=`; with `ttlMs` or `whileAlive` at most
   *   2,048, the module's `kv.prefix` included.
   * @param value at most 2,621,440 bytes in UTF-8, and less when `limits.maxMessageBytes` allows less.
   * @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE, NO_LEADER, OVERLOADED: nothing was written.
   * @throws HedgeError LEASE_LOST with `fenced`, or `append: false`: nothing was written.
   * @throws HedgeError CONFLICT with `ifVersion` or `ifAbsent`: nothing was written, and `details.entry` is the newest
   *   version. Also after a crash or a change of the leader: a put that was written is never reported as a conflict.
   * @throws HedgeError NO_HANDLER with a condition or `ttlMs`, when the leader has version 0.1: nothing was written. When a leader before
   *   it may have written the value, the error is OUTCOME_UNKNOWN.
   * @throws HedgeError DEADLINE_EXCEEDED, OUTCOME_UNKNOWN: it may have been written, once.
   */
  async put(key: string, value: string, options: KvPutOptions = {}): Promise<KvEntry> {
    assertKey(key);
    assertValue(key, value, this.deps.maxValueBytes);
    checkKeys(`The options of put "${key}"`, options, PUT_OPTIONS);
    const entry = await this.#write('put', key, value, options);
    if (options.whileAlive === true) this.aliveKeys.keep(entry);
    return entry;
  }

  /**
   * Deletes a key: appends a version that says so. Then `get` gives undefined, and `keys` leaves the key out, until the
   * next put. `history` shows the deletion, with `deleted: true`, and all earlier versions. Resolves with the deletion when
   * it is durable, also for a key without a value.
   *
   * A pod of version 0.1 and Go's hedge read a deleted key as an empty value.
   *
   * @example
   * await kv.delete('orders/17');
   * await kv.get('orders/17'); // undefined
   * @throws HedgeError as `put`
   */
  async delete(key: string, options: KvDeleteOptions = {}): Promise<KvEntry> {
    assertKey(key);
    checkKeys(`The options of delete "${key}"`, options, DELETE_OPTIONS);
    return this.#write('delete', key, '', options);
  }

  /**
   * Puts and deletes several keys in one commit, if all conditions hold; otherwise writes none of them. Resolves with the
   * written entries, in the order of the operations, when they are durable. They have the same `version`, and a watch shows
   * them one after the other.
   *
   * @param operations 1 to 64, each of another key, and one at least that writes. Keys and values together have at most
   *   2,621,440 bytes in UTF-8, with 160 more for each operation; less when `limits.maxMessageBytes` allows less.
   *
   * @example
   * await kv.transaction([
   *   { check: 'settings', ifVersion: settings },
   *   { put: 'accounts/1', value: '70', ifVersion: one },
   *   { put: 'accounts/2', value: '130', ifVersion: two },
   *   { delete: 'transfers/5' },
   * ]);
   * @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE, NO_LEADER, OVERLOADED: nothing was written.
   * @throws HedgeError CONFLICT when a condition does not hold: nothing was written. `details.keys` has the keys of these
   *   conditions, and `details.entries` the newest version of each. A key without a version has no entry there, nor has one
   *   whose value does not fit into an answer with the others. A transaction that was written is never reported as a conflict.
   * @throws HedgeError LEASE_LOST with `fenced`: nothing was written.
   * @throws HedgeError NO_HANDLER when the leader has an earlier version: nothing was written. When a leader before it may
   *   have written, the error is OUTCOME_UNKNOWN.
   * @throws HedgeError DEADLINE_EXCEEDED, OUTCOME_UNKNOWN: all of it was written, once, or nothing.
   */
  async transaction(operations: readonly KvOperation[], options: KvTransactionOptions = {}): Promise<KvEntry[]> {
    const { clock, gate, maxValueBytes, messenger } = this.deps;
    const call = new KvTransactionCall(operations, (key) => this.#stored(key), maxValueBytes);
    checkKeys('The options of transaction', options, TRANSACTION_OPTIONS);
    const { fenced = false, timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    const { name } = call;
    checkCallOptions('transaction with', call.firstKey, timeoutMs, signal);
    const wait = gate.pass(name);
    if (wait !== undefined) await wait;
    const fence = this.#fence(name, fenced);
    const span = beginMessage('transaction', '');
    const end = clock.now().mono + Math.min(timeoutMs, LONGEST_PUT_MS);
    try {
      for (;;) {
        const items = call.items(this.#ids.next());
        const { bytes } = await messenger.request({
          to: 'leader',
          type: KV_TRANSACTION,
          topic: '',
          name,
          payload: bytesPayload(KvTransaction.encode({ items, fence }).finish()),
          ifUnknown: 'All of it was written once, or nothing: read the keys',
          timeoutMs: Math.max(1, end - clock.now().mono),
          ...(fenced !== false && { maxReruns: 0 }),
          signal,
          trace: span.trace,
        });
        const { written, refused } = KvTransactionDone.decode(bytes);
        if (written !== undefined) {
          span.end();
          return call.entries(items, written);
        }
        call.retry(refused);
      }
    } catch (error) {
      span.end(error);
      throw atCaller(error, signal);
    }
  }

  async #write(call: 'put' | 'delete', key: string, value: string, options: KvPutOptions): Promise<KvEntry> {
    const { append = true, fenced = false, ifAbsent = false, ttlMs, whileAlive = false, signal } = options;
    const { timeoutMs: given = this.deps.defaultTimeoutMs } = options;
    const name = `${call} "${key}"`;
    checkCallOptions(call, key, given, signal);
    const timeoutMs = Math.min(given, LONGEST_PUT_MS);
    assertCondition(name, options);
    if (ttlMs !== undefined) assertTtl(name, ttlMs);
    this.#assertLifetime(name, key, options);
    const version = 'ifVersion' in options ? parseVersion(name, options.ifVersion) : undefined;
    const wait = this.deps.gate.pass(name);
    if (wait !== undefined) await wait;
    const row = { key: this.#stored(key), value, fence: this.#fence(name, fenced) };
    const span = beginMessage(call, '');
    const request: PutRequest = {
      to: 'leader',
      topic: '',
      name,
      ifUnknown:
        call === 'put'
          ? 'The value was written once or not at all: read the key'
          : 'The key was deleted once or not at all: read its history',
      timeoutMs,
      // An overwrite must not happen twice. A fence is valid in one term only: after LEASE_LOST from the next leader, the
      // row may still have been written by this one.
      ...((!append || fenced !== false) && { maxReruns: 0 }),
      signal,
      trace: span.trace,
    };
    const newId = (): string => this.#ids.next() + (call === 'delete' ? TOMBSTONE_SUFFIX : '');
    try {
      const condition = version !== undefined || ifAbsent ? { follows: version } : undefined;
      const lifetime = ttlMs !== undefined || whileAlive ? { ttlMs, whileAlive } : undefined;
      const entry =
        condition === undefined && lifetime === undefined
          ? await this.#put(request, { ...row, id: newId() }, key, !append)
          : await this.#putIf(request, () => ({ ...row, id: newId() }), key, condition, lifetime);
      span.end();
      return entry;
    } catch (error) {
      span.end(error);
      throw atCaller(error, signal);
    }
  }

  async #put(request: PutRequest, row: Omit<KvPut, 'overwrite'>, key: string, overwrite: boolean): Promise<KvEntry> {
    const payload = bytesPayload(KvPut.encode({ ...row, overwrite }).finish());
    const { bytes } = await this.deps.messenger.request({ ...request, type: KV_PUT, payload });
    const done = KvPutDone.decode(bytes);
    return toKvEntry({ ...row, ...done, key, id: overwrite ? OVERWRITE_ID : row.id });
  }

  /** @param condition `follows` is undefined when the key must have no value. */
  async #putIf(
    request: PutRequest,
    newRow: () => Omit<KvPut, 'overwrite'>,
    key: string,
    condition: LogCondition | undefined,
    lifetime: PutLifetime | undefined,
  ): Promise<KvEntry> {
    const { clock } = this.deps;
    const end = clock.now().mono + request.timeoutMs;
    for (let tried = condition; ;) {
      const row = newRow();
      const attempt = { ...request, timeoutMs: Math.max(1, end - clock.now().mono) };
      const { written, newest } =
        lifetime === undefined
          ? await this.#putConditional(attempt, { ...row, follows: tried?.follows })
          : await this.#putExpiring(attempt, row, tried, lifetime);
      if (written !== undefined) return toKvEntry({ ...row, ...written, key });
      const isAbsent = newest === undefined || isTombstone(newest);
      if (condition?.follows !== undefined || !isAbsent) {
        throw conflict(request.name, newest && toKvEntry({ ...newest, key }));
      }
      // The key was deleted before. Its deletion is one exact version, so a late attempt cannot write after a later put.
      tried = { follows: newest };
    }
  }

  /** Puts a key of `whileAlive` again, if this is its newest row. Each call for one id is the same put. */
  async #putAgain(
    { key, id, value }: Pick<KvEntry, 'key' | 'id' | 'value'>,
    newest: LogEntry | undefined,
    signal: AbortSignal,
  ): Promise<KvEntry> {
    const row = { key: this.#stored(key), id, value, fence: 0n };
    const name = `put "${key}"`;
    const timeoutMs = Math.min(this.deps.defaultTimeoutMs, LONGEST_PUT_MS);
    const request: PutRequest = { to: 'leader', topic: '', name, timeoutMs, signal };
    const done = await this.#putExpiring(request, row, { follows: newest }, { whileAlive: true });
    if (done.written === undefined) throw conflict(name, done.newest && toKvEntry({ ...done.newest, key }));
    return toKvEntry({ ...row, ...done.written, key });
  }

  async #putConditional(request: PutRequest, put: KvConditionalPut): Promise<KvConditionalPutDone> {
    const payload = bytesPayload(KvConditionalPut.encode(put).finish());
    const { bytes } = await this.deps.messenger.request({ ...request, type: KV_CONDITIONAL_PUT, payload });
    return KvConditionalPutDone.decode(bytes);
  }

  async #putExpiring(
    request: PutRequest,
    { fence, ...row }: Omit<KvPut, 'overwrite'>,
    condition: LogCondition | undefined,
    { ttlMs = 0, whileAlive = false }: PutLifetime,
  ): Promise<KvConditionalPutDone> {
    const items = [{ ...row, condition, ttlMs, whileAlive }];
    const payload = bytesPayload(KvTransaction.encode({ items, fence }).finish());
    const { bytes } = await this.deps.messenger.request({ ...request, type: KV_TRANSACTION, payload });
    const { written, refused } = KvTransactionDone.decode(bytes);
    return { written, newest: refused[0]?.newest };
  }

  /**
   * The latest version of a key; undefined when there is none, or when the key is deleted. On PostgreSQL and Spanner, the
   * gets of one turn of the event loop share a statement.
   * @throws HedgeError INVALID_ARGUMENT, BACKEND_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED
   */
  async get(key: string, options: KvGetOptions = {}): Promise<KvEntry | undefined> {
    assertKey(key);
    checkKeys(`The options of get "${key}"`, options, GET_OPTIONS);
    const { timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    checkCallOptions('get', key, timeoutMs, signal);
    const wait = this.deps.gate.pass(`get "${key}"`);
    if (wait !== undefined) await wait;
    const entry = await this.#reader.get(this.#stored(key), `get "${key}"`, timeoutMs, signal);
    return entry && !isTombstone(entry) ? toKvEntry({ ...entry, key }) : undefined;
  }

  /**
   * Versions of a key, deletions included, as they were at one moment, by default the newest first. The call reads the
   * database in pages, so that neither leases nor other calls wait for it. The whole result is held in memory.
   *
   * @example
   * kv.history('k', { limit: Infinity }) // all
   * kv.history('k', { limit: 1, order: 'oldest-first' }) // the first one
   * kv.history('k', { limit: 20, before: page.at(-1) }) // the next page
   * @throws HedgeError INVALID_ARGUMENT, BACKEND_UNAVAILABLE, OVERLOADED, CANCELLED
   */
  async history(key: string, options: KvHistoryOptions = {}): Promise<KvEntry[]> {
    assertKey(key);
    const stored = this.#stored(key);
    checkKeys(`The options of history "${key}"`, options, HISTORY_OPTIONS);
    const { limit = 100, order = 'newest-first', signal } = options;
    assertLimit(limit);
    assertOrder(order);
    checkSignal(`history '${key}'`, signal);
    const before = options.before === undefined ? undefined : parseCursor('before', options.before);
    const after = options.after === undefined ? undefined : parseCursor('after', options.after);
    // An entry as cursor is a position within a commit. The database compares commits, so the query includes that commit,
    // and `inside` removes its entries on the wrong side.
    const query: Omit<HistoryQuery, 'limit'> = {
      order,
      signal,
      ...(before && { before: before.id === undefined ? before.timestamp : before.timestamp + 1n }),
      ...(after && { after: after.id === undefined ? after.timestamp : after.timestamp - 1n }),
    };
    const inside = ({ timestamp, id }: LogEntry): boolean =>
      !(before?.id !== undefined && timestamp === before.timestamp && compareText(id, before.id) >= 0) &&
      !(after?.id !== undefined && timestamp === after.timestamp && compareText(id, after.id) <= 0);
    const wait = this.deps.gate.pass(`history "${key}"`);
    if (wait !== undefined) await wait;
    for (let pageSize = bounded(limit); ; pageSize = bounded(pageSize * 2)) {
      const found = await this.deps.log.history(stored, { ...query, limit: pageSize });
      const entries = found.filter(inside);
      if (entries.length < limit && found.length >= pageSize) continue;
      const history = entries.slice(0, limit).map((entry) => toKvEntry({ ...entry, key }));
      const endsWithOldest = order === 'oldest-first' || entries.length < limit;
      const oldest = order === 'oldest-first' ? 0 : history.length - 1;
      const entry = endsWithOldest ? history[oldest] : undefined;
      // Read after the history, so that it knows of every deletion that the history lacks.
      if (entry !== undefined && (await this.#compactedBefore(stored)) > (after?.timestamp ?? 0n)) {
        history[oldest] = Object.assign(entry, { compacted: true as const });
      }
      return history;
    }
  }

  async #compactedBefore(stored: string): Promise<bigint> {
    const after = placeAt(GREATEST_TIMESTAMP);
    return (await this.deps.log.changes({ prefix: stored, exact: true, after, limit: 1 })).compactedBefore;
  }

  /**
   * Keys with a prefix, sorted by their UTF-8 bytes, without deleted ones; '' for all keys.
   *
   * @example
   * for (let page = await kv.keys('orders/'); page.length > 0; page = await kv.keys('orders/', { after: page.at(-1) })) …
   * @throws HedgeError INVALID_ARGUMENT, BACKEND_UNAVAILABLE, OVERLOADED, CANCELLED
   */
  async keys(prefix: string, options: KvKeysOptions = {}): Promise<string[]> {
    assertPrefix(prefix);
    checkKeys(`The options of keys "${prefix}"`, options, KEYS_OPTIONS);
    const { limit = 1_000, after, signal } = options;
    assertLimit(limit);
    assertAfter(after);
    checkSignal(`keys '${prefix}'`, signal);
    const wait = this.deps.gate.pass(`keys "${prefix}"`);
    if (wait !== undefined) await wait;
    const keys: string[] = [];
    const stored = this.#prefix + prefix;
    for (let from = after === undefined ? undefined : scanAfter(this.#prefix + after); ;) {
      const pageSize = Math.min(limit - keys.length, PAGE_KEYS);
      const found = await this.deps.log.keys({
        prefix: stored,
        limit: pageSize,
        signal,
        ...(from !== undefined && { after: from }),
      });
      for (const key of found) if (!isReservedKey(key)) keys.push(key.slice(this.#prefix.length));
      const last = found.at(-1);
      if (last === undefined || keys.length >= limit || found.length < pageSize) return keys;
      from = scanAfter(last);
    }
  }

  /**
   * The latest versions of several keys, in their order; undefined for a key without a value. Each is read as by `get`: they
   * share statements on PostgreSQL and Spanner, and need not be of one moment.
   * @throws HedgeError as `get`
   */
  async getMany(keys: readonly string[], options: KvGetOptions = {}): Promise<(KvEntry | undefined)[]> {
    return await Promise.all(keys.map((key) => this.get(key, options)));
  }

  /**
   * The latest versions of the keys with a prefix, sorted by key; '' for all keys. Options as `keys`. The whole result is
   * held in memory.
   *
   * @example
   * for (let page = await kv.entries('orders/'); page.length > 0; page = await kv.entries('orders/', { after: page.at(-1)?.key })) …
   * @throws HedgeError as `keys`
   */
  async entries(prefix: string, options: KvKeysOptions = {}): Promise<KvEntry[]> {
    const { limit = 1_000, signal } = options;
    const entries: KvEntry[] = [];
    for (let { after } = options; ;) {
      const wanted = limit - entries.length;
      const keys = await this.keys(prefix, { ...options, limit: wanted, after });
      // A key may be deleted meanwhile.
      for (const entry of await this.getMany(keys, { signal })) if (entry !== undefined) entries.push(entry);
      if (keys.length < wanted || entries.length >= limit) return entries;
      after = keys.at(-1);
    }
  }

  /**
   * Watches all keys with a prefix ('' for all keys), or one key: yields each version, deletions included, in the order of
   * commits. See `KvWatch`. On Spanner, each read scans all versions of these keys.
   *
   * The watch begins at the call, or at `from`. Await `ready` before you write what it must show.
   *
   * @example
   * for await (const { key, value, deleted } of kv.watch('orders/', { signal })) …
   * kv.watch({ key: 'settings' }) // this key only
   * from(kv.watch('orders/')) // an Observable, by rxjs
   * @throws HedgeError INVALID_ARGUMENT
   */
  watch(target: string | { readonly key: string }, options: KvWatchOptions = {}): KvWatch {
    const exact = typeof target === 'object' && target !== null;
    const text: unknown = exact ? target.key : target;
    const name = `watch "${String(text)}"`;
    if (exact) assertKey(text);
    else assertPrefix(text);
    checkKeys(`The options of ${name}`, options, WATCH_OPTIONS);
    const { from, signal } = options;
    checkSignal(name, signal);
    const place = from === undefined ? undefined : parseFrom(from, this.#prefix);
    const stored = exact ? this.#stored(text) : this.#prefix + text;
    const begin = async (): Promise<LogPlace> => {
      const wait = this.deps.gate.pass(name);
      if (wait !== undefined) await wait;
      if (place !== undefined) return place;
      return placeAt((await this.deps.log.lastTimestamp(stored)) + 1n);
    };
    return new KvWatch({
      hub: this.deps.hub,
      scope: { prefix: stored, exact },
      start: begin(),
      prefixLength: this.#prefix.length,
      name,
      signal,
    });
  }

  /**
   * Makes the leader delete old versions by `kv.retention` now, and not only once a minute. Resolves when it has looked at
   * all keys. It deletes slowly, so that puts do not wait: after DEADLINE_EXCEEDED it goes on.
   * @returns the number of versions that were deleted
   * @throws HedgeError INVALID_ARGUMENT without the option; NO_LEADER; NO_HANDLER when the leader has version 0.1;
   *   DEADLINE_EXCEEDED, BACKEND_UNAVAILABLE, CANCELLED: some versions may have been deleted
   */
  async compact(options: KvGetOptions = {}): Promise<{ readonly deleted: number }> {
    checkKeys('The options of compact', options, GET_OPTIONS);
    const { timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    checkCallOptions('compact', 'kv', timeoutMs, signal);
    const wait = this.deps.gate.pass('compact');
    if (wait !== undefined) await wait;
    try {
      const { bytes } = await this.deps.messenger.request({
        to: 'leader',
        type: KV_COMPACT,
        topic: '',
        name: 'compact',
        ifUnknown: 'Some versions may have been deleted',
        payload: NO_PAYLOAD,
        timeoutMs,
        signal,
      });
      return { deleted: Number(Buffer.from(bytes).toString()) };
    } catch (error) {
      throw atCaller(error, signal);
    }
  }

  /**
   * Deletes the oldest versions of a key: those that are not among the newest `keep`, and are ten minutes older than the
   * newest one. Until then, no append is tried again (K1). At most 500 in a call, so call it after each put. Any pod may: a
   * version that meets these conditions meets them for ever. A driver without `LogTable.trim` deletes nothing.
   * @param newest as `put` has returned it
   * @throws HedgeError BACKEND_UNAVAILABLE
   * @internal
   */
  async trim(newest: KvEntry, keep: number): Promise<void> {
    const key = this.#stored(newest.key);
    const before = newest.version - BigInt(2 * LONGEST_PUT_MS) * 1_000_000n;
    await this.deps.log.trim?.({ key, keep, before, limit: 500, record: { prefix: key, leader: newest.leader } });
  }

  /**
   * A cache of the keys with a prefix, which a watch keeps up to date. Resolves when it is filled. All entries are held in
   * memory, until `close()` or the signal ends the cache.
   * @throws HedgeError INVALID_ARGUMENT, BACKEND_UNAVAILABLE, OVERLOADED, CANCELLED
   */
  async cached(prefix: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<KvCache> {
    assertPrefix(prefix);
    checkKeys(`The options of cached "${prefix}"`, options, ['signal']);
    const { signal } = options;
    const { clock } = this.deps;
    return await KvCache.open({
      watch: () => this.watch(prefix, { signal }),
      read: () => this.entries(prefix, { limit: Infinity, signal }),
      pause: (ms) => new Promise<void>((resume) => void clock.after(ms, resume)),
    });
  }

  /**
   * Puts a value as JSON.
   * @throws HedgeError as `put`; INVALID_ARGUMENT when JSON cannot represent the value.
   */
  async putJson(key: string, data: unknown, options?: KvPutOptions): Promise<KvEntry> {
    return this.put(key, toJson(key, data), options);
  }

  /**
   * The latest value of a key as JSON; undefined when there is none. The type is not checked.
   * @throws HedgeError as `get`; INVALID_ARGUMENT when the value is not JSON.
   */
  async getJson<T>(key: string, options?: KvGetOptions): Promise<T | undefined> {
    const entry = await this.get(key, options);
    if (entry === undefined) return undefined;
    try {
      return JSON.parse(entry.value) as T;
    } catch (cause) {
      throw new HedgeError('INVALID_ARGUMENT', `The value of "${key}" is not JSON. Read it with get.`, { cause });
    }
  }

  /**
   * The key in the log table.
   * @throws HedgeError INVALID_ARGUMENT when it is too long with the prefix.
   */
  #stored(key: string): string {
    const stored = this.#prefix + key;
    if (this.#prefix !== '') assertKey(stored);
    return stored;
  }

  /** @throws HedgeError INVALID_ARGUMENT */
  #assertLifetime(name: string, key: string, { append = true, ttlMs, whileAlive = false }: KvPutOptions): void {
    if (typeof whileAlive !== 'boolean') {
      throw new HedgeError('INVALID_ARGUMENT', `"whileAlive" of ${name} must be a boolean.`);
    }
    const given = [
      ...(ttlMs === undefined ? [] : ['ttlMs']),
      ...(whileAlive ? ['whileAlive'] : []),
      ...(append ? [] : ['append: false']),
    ];
    if (given.length > 1) {
      throw new HedgeError('INVALID_ARGUMENT', `${name} has both "${given[0]}" and "${given[1]}". Use one of them.`);
    }
    if (ttlMs !== undefined || whileAlive) assertExpiringKey(this.#stored(key));
    if (!whileAlive || this.deps.isMember !== false) return;
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `${name} with "whileAlive" was refused: this pod has mode 'client', so the leader does not know whether it is alive. Use "ttlMs", and put the key again before it has passed.`,
    );
  }

  #fence(name: string, fenced: boolean | bigint): bigint {
    if (fenced === false) return 0n;
    if (typeof fenced === 'bigint' && fenced > 0n && fenced === BigInt.asUintN(64, fenced)) return fenced;
    if (fenced !== true) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `"fenced" of ${name} must be a boolean or a fencing token, a bigint above 0.`,
      );
    }
    const belief = this.deps.route.current();
    if (belief !== undefined) return belief.epoch;
    throw new HedgeError(
      'NO_LEADER',
      `${name} was not sent: it is to be fenced by the token of the present leader, and there is no leader now. Nothing was written; try again when there is a leader.`,
    );
  }
}

type PutRequest = Omit<OutgoingRequest, 'type' | 'payload'>;

function conflict(name: string | undefined, entry: KvEntry | undefined): HedgeError {
  const found =
    entry === undefined
      ? 'the key has no version'
      : `the newest version of the key is ${entry.version} with id "${entry.id}"${entry.deleted ? ', a deletion' : ''}`;
  return new HedgeError(
    'CONFLICT',
    `${name} was not written: ${found}. Decide again with the entry in details.entry, and pass it as "ifVersion".`,
    { details: { entry } },
  );
}

/** Caps a limit at the largest that databases accept. */
function bounded(limit: number): number {
  return Math.min(limit, 0x7fff_ffff);
}

function assertOrder(order: string): void {
  if (order === 'newest-first' || order === 'oldest-first') return;
  throw new HedgeError('INVALID_ARGUMENT', `"order" must be newest-first or oldest-first, not "${order}".`);
}

/** Encodes a value as JSON. Rejects values that JSON would drop or change silently, as messages do. */
function toJson(key: string, data: unknown): string {
  const problem = notJson(data);
  let json: string | undefined;
  let cause: unknown;
  try {
    if (problem === undefined) json = JSON.stringify(data);
  } catch (error) {
    cause = error;
  }
  if (json !== undefined) return json;
  const why = problem ?? (cause === undefined ? 'its toJSON returns no value' : messageOf(cause));
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The value of "${key}" cannot be written as JSON: ${why}. Turn it into plain data first, or put a string.`,
    { cause },
  );
}
