import { checkKeys } from '../common/validation/check-keys.js';
import { HedgeError } from '../common/errors.js';
import {
  isTombstone,
  MOST_TRANSACTION_ITEMS,
  TOMBSTONE_SUFFIX,
  type LogCondition,
  type LogEntry,
} from '../database/log-table.js';
import type { KvRefusedItem, KvTransactionItem } from '../wire/hedge/v1/link.js';
import { parseVersion, toKvEntry, type KvEntry, type KvVersion } from './kv-entry.js';
import { assertCondition, assertExpiringKey, assertKey, assertTtl, assertValue } from './kv-limits.js';

/** A condition of a key, as in `KvPutOptions`: at most one of them. */
export interface KvCondition {
  readonly ifVersion?: KvVersion;
  readonly ifAbsent?: boolean | undefined;
}

/**
 * A part of a transaction: puts a value, deletes a key, or checks a key without writing it. A put and a deletion may have a
 * condition; a check needs one. `ttlMs` as in `KvPutOptions`.
 *
 * @example
 * { put: 'accounts/1', value: '70', ifVersion: entry }
 * { put: 'sessions/3', value: 'ann', ttlMs: 60_000 }
 * { delete: 'orders/17' }
 * { check: 'settings', ifVersion: settings }
 */
export type KvOperation =
  | ({ readonly put: string; readonly value: string; readonly ttlMs?: number | undefined } & KvCondition)
  | ({ readonly delete: string } & Pick<KvCondition, 'ifVersion'>)
  | ({ readonly check: string } & KvCondition);

/** Of the ids, and of the frame of an item, in a message. */
const ITEM_BYTES = 160;

const FIELDS = {
  put: ['put', 'value', 'ttlMs', 'ifVersion', 'ifAbsent'],
  delete: ['delete', 'ifVersion'],
  check: ['check', 'ifVersion', 'ifAbsent'],
} as const;

interface Part {
  readonly call: keyof typeof FIELDS;
  /** As the caller named it. */
  readonly key: string;
  readonly value: string;
  /** 0 for none. */
  readonly ttlMs: number;
  readonly ifAbsent: boolean;
  condition: LogCondition | undefined;
}

/** The operations of one `KvStore.transaction`, from its arguments to its result. */
export class KvTransactionCall {
  readonly #parts: readonly Part[];

  /**
   * @param stored gives the key in the log table.
   * @param maxBytes of keys and values together, and of each value.
   * @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE
   */
  constructor(
    operations: readonly KvOperation[],
    private readonly stored: (key: string) => string,
    maxBytes: number,
  ) {
    if (!Array.isArray(operations) || operations.length === 0 || operations.length > MOST_TRANSACTION_ITEMS) {
      const given = Array.isArray(operations)
        ? `${operations.length} operations`
        : `a value of type ${typeof operations}`;
      throw invalid(`A transaction must be a list of 1 to ${MOST_TRANSACTION_ITEMS} operations, not ${given}.`);
    }
    this.#parts = operations.map((operation) => partOf(operation, maxBytes));
    const expiring = this.#parts.filter(({ ttlMs }) => ttlMs > 0);
    for (const { key } of expiring) assertExpiringKey(stored(key));
    if (this.#parts.length + expiring.length > MOST_TRANSACTION_ITEMS) {
      throw invalid(
        `${this.name} is too long: ${expiring.length} of them have "ttlMs" and count twice, and at most ${MOST_TRANSACTION_ITEMS} fit. Split it.`,
      );
    }
    const keys = new Set<string>();
    for (const { key } of this.#parts) {
      if (keys.has(key)) throw invalid(`${this.name} names the key "${key}" twice. Give each key one operation.`);
      keys.add(key);
    }
    if (this.#parts.every(({ call }) => call === 'check')) {
      throw invalid(`${this.name} writes nothing. Add a put or a delete, or read the keys with get.`);
    }
    const bytes = this.#parts.reduce((sum, part) => sum + this.#bytesOf(part), 0);
    if (bytes <= maxBytes) return;
    throw new HedgeError(
      'PAYLOAD_TOO_LARGE',
      `${this.name} has ${bytes} bytes in its keys and values, with ${ITEM_BYTES} more for each operation; at most ${maxBytes} fit. Split it, or store large values under keys of their own first.`,
      { details: { bytes, maxBytes } },
    );
  }

  /** For errors. */
  get name(): string {
    const [first] = this.#parts;
    return `transaction of ${this.#parts.length} operations with ${first?.call} "${first?.key}"`;
  }

  get firstKey(): string {
    return this.#parts[0]?.key ?? '';
  }

  /** @param id the beginning of the ids of all rows, so that they are together in the order of commits. */
  items(id: string): KvTransactionItem[] {
    return this.#parts.map(({ call, key, value, ttlMs, condition }, place) => {
      const end = `-${String(place).padStart(2, '0')}${call === 'delete' ? TOMBSTONE_SUFFIX : ''}`;
      return {
        key: this.stored(key),
        id: call === 'check' ? '' : id + end,
        value,
        condition,
        ttlMs,
        whileAlive: false,
      };
    });
  }

  /** The entries of the written rows, in the order of the operations. */
  entries(items: readonly KvTransactionItem[], written: Pick<LogEntry, 'timestamp' | 'leader'>): KvEntry[] {
    return this.#parts.flatMap(({ key, value }, place) => {
      const { id = '' } = items[place] ?? {};
      return id === '' ? [] : [toKvEntry({ key, value, id, ...written })];
    });
  }

  /**
   * Goes on after a refusal if all refused keys have the condition `ifAbsent` and were deleted: a deletion is one exact
   * version, so a late attempt cannot write after a later put.
   * @throws HedgeError CONFLICT
   */
  retry(refused: readonly KvRefusedItem[]): void {
    const conflicts = refused.filter(({ place, newest }) => {
      return this.#parts[place]?.ifAbsent !== true || (newest !== undefined && !isTombstone(newest));
    });
    if (conflicts.length > 0) throw this.#conflict(conflicts);
    for (const { place, newest } of refused) {
      const part = this.#parts[place];
      if (part !== undefined) part.condition = { follows: newest };
    }
  }

  #conflict(refused: readonly KvRefusedItem[]): HedgeError {
    const keys = refused.map(({ place }) => this.#parts[place]?.key ?? '');
    const entries = refused.flatMap(({ newest, withoutValue }, i) =>
      newest === undefined || withoutValue ? [] : [toKvEntry({ ...newest, key: keys[i] ?? '' })],
    );
    const shown = keys.slice(0, 5).map((key) => `"${key}"`);
    const more = keys.length > shown.length ? ` and ${keys.length - shown.length} more` : '';
    return new HedgeError(
      'CONFLICT',
      `${this.name} was not written, no part of it: the conditions of ${shown.join(', ')}${more} do not hold. Read these keys, and decide again; details.entries has the versions that are there.`,
      { details: { keys, entries } },
    );
  }

  #bytesOf({ key, value }: Part): number {
    return Buffer.byteLength(this.stored(key)) + Buffer.byteLength(value) + ITEM_BYTES;
  }
}

function partOf(operation: KvOperation, maxBytes: number): Part {
  const given: Partial<Record<'put' | 'delete' | 'check' | 'value' | 'ttlMs', unknown>> = operation ?? {};
  const calls = (['put', 'delete', 'check'] as const).filter((call) => given[call] !== undefined);
  const [call] = calls;
  if (call === undefined || calls.length > 1) {
    throw invalid('An operation of a transaction must have one of "put", "delete" and "check", with the key.');
  }
  const key = given[call];
  assertKey(key);
  const name = `${call} "${key}" in a transaction`;
  checkKeys(name, operation, FIELDS[call]);
  const { value = '', ttlMs = 0 } = given;
  if (call === 'put') assertValue(key, given.value, maxBytes);
  if (given.ttlMs !== undefined) assertTtl(name, ttlMs);
  const conditions = operation as KvCondition;
  assertCondition(name, conditions);
  const { ifAbsent = false } = conditions;
  const condition =
    'ifVersion' in conditions
      ? { follows: parseVersion(name, conditions.ifVersion) }
      : ifAbsent
        ? { follows: undefined }
        : undefined;
  if (call === 'check' && condition === undefined) {
    throw invalid(`${name} has no condition. Give "ifVersion" or "ifAbsent".`);
  }
  return { call, key, value: String(value), ttlMs: Number(ttlMs), ifAbsent, condition };
}

function invalid(message: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', message);
}
