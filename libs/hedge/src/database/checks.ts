import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { MOST_RENEWALS } from './lease-table.js';
import {
  isSamePosition,
  MOST_TRANSACTION_ITEMS,
  type Fence,
  type LogEntry,
  type LogTransaction,
  type LogTrim,
  type TransactionOutcome,
  type TrimmableQuery,
} from './log-table.js';
import type { SemaphoreWrite } from './permit-table.js';
import { assertLength, assertText, assertTexts } from './text.js';

// Errors and checks that all drivers share, so that each rejects the same calls with the same message.

/** A row with that key and id exists and has another value. */
export function conflict(row: { readonly key: string; readonly id: string }): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Key "${row.key}" was not written: it already has a version with id "${row.id}" and another value. Use a new id for a new value.`,
    { details: { key: row.key, id: row.id } },
  );
}

/** A fenced write whose lease was acquired by another member. */
export function leaseLost(fence: Fence, found: bigint): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `Nothing was written: lease "${fence.lease}" has token ${found}, not ${fence.token}, because another member acquired it. Leave the work to the new leader.`,
    { details: { lease: fence.lease, expected: String(fence.token), found: String(found) } },
  );
}

/** @throws HedgeError INVALID_ARGUMENT for a lease with a text that no database can hold. */
export function assertLeaseTexts(name: string, holder?: MemberId): void {
  assertText('name of the lease', name);
  if (holder !== undefined) assertTexts({ address: holder.address, incarnation: holder.incarnation });
}

/** @throws HedgeError INVALID_ARGUMENT for transactions that `LogTable.appendIf` does not allow. */
export function assertTransactions(transactions: readonly LogTransaction[]): void {
  const items = transactions.flat();
  if (items.length > MOST_TRANSACTION_ITEMS) {
    throw invalid(
      `${items.length} keys cannot be checked and written in one call; at most ${MOST_TRANSACTION_ITEMS} can. Write them in several calls.`,
    );
  }
  if (new Set(items.map(({ key }) => key)).size < items.length) {
    throw invalid('Transactions name a key twice. Give each key once in one call.');
  }
  if (!transactions.every((transaction) => transaction.some(({ append }) => append !== undefined))) {
    throw invalid('A transaction has no row to append. Read the keys instead.');
  }
  for (const { key, append, condition } of items) {
    assertTexts({ key, follows: condition?.follows?.id ?? '' });
    if (append !== undefined) assertTexts({ id: append.id, value: append.value, leader: append.leader });
  }
}

/**
 * The outcome of a transaction by the rows that are there: those of an earlier attempt, and the newest ones of its keys.
 * @returns undefined when its rows are to be appended.
 */
export function outcomeOf(
  transaction: LogTransaction,
  stored: (key: string, id: string) => { readonly value: string; readonly timestamp: bigint } | undefined,
  newest: (key: string) => LogEntry | undefined,
): TransactionOutcome | undefined {
  let written: TransactionOutcome | undefined;
  for (const { key, append } of transaction) {
    const row = append && stored(key, append.id);
    if (row === undefined) continue;
    if (row.value !== append?.value) return conflict({ key, id: append?.id ?? '' });
    written = { timestamp: row.timestamp };
  }
  if (written !== undefined) return written;
  const refused = transaction.flatMap(({ key, condition }, place) => {
    if (condition === undefined) return [];
    const row = newest(key);
    return isSamePosition(row, condition.follows) ? [] : [{ place, newest: row }];
  });
  return refused.length > 0 ? { refused } : undefined;
}

/** @throws HedgeError INVALID_ARGUMENT for more renewals at once than the contract allows. */
export function assertRenewals(leases: readonly unknown[]): void {
  if (leases.length <= MOST_RENEWALS) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `${leases.length} leases cannot be renewed in one call; at most ${MOST_RENEWALS} can. Renew them in several calls.`,
  );
}

/**
 * The maximum length of a semaphore name, in UTF-8 bytes. The name is part of a key, and of an id beside a member's
 * address. Spanner allows 8 KB for both together.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
export const MAX_SEMAPHORE_NAME_BYTES = 4_000;

/** @throws HedgeError INVALID_ARGUMENT for a name that is empty, too long, or not storable in every database. */
export function assertSemaphoreName(name: string): void {
  if (name === '') throw invalid('The name of a semaphore is empty. Give a name of at least one character.');
  assertText('name of the semaphore', name);
  assertLength("semaphore's name", name, MAX_SEMAPHORE_NAME_BYTES);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertSemaphoreWrite({ name, limit, value, leader, holders, permits = [] }: SemaphoreWrite): void {
  assertSemaphoreName(name);
  assertTexts({ value, leader });
  for (const holder of holders) assertTexts({ address: holder.address, value: holder.value ?? '' });
  for (const { id } of permits) assertTexts({ permit: id });
  if (Number.isSafeInteger(limit) && limit > 0 && limit < 1e15) return;
  throw invalid(`The limit of semaphore "${name.slice(0, 40)}" is ${limit}. Give a whole number above 0, below 10^15.`);
}

function invalid(message: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', message);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertTrim({ key, keep, limit, record }: LogTrim): void {
  assertTexts({ key, prefix: record?.prefix ?? '', leader: record?.leader ?? '' });
  assertCounts(`trim "${key}"`, { keep, limit });
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertTrimmable({ prefix, after = '', keep, limit }: TrimmableQuery): void {
  assertTexts({ prefix, after });
  assertCounts(`trimmable "${prefix}"`, { keep, limit });
}

function assertCounts(call: string, counts: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(counts)) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw invalid(`"${name}" of ${call} is ${value}. Give a whole number from 1.`);
  }
}
