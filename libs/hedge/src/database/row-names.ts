import { HedgeError } from '../common/errors.js';
import type { ListedLease } from './lease-table.js';
import type { SemaphoreWrite } from './permit-table.js';
import { compareText } from './text.js';

/** Row name of a group's election lease. It differs from spindle's, because Go pods write theirs without a token check. */
export function leaseName(group: string): string {
  return `hedge/lease/${group}`;
}

/**
 * Row name of a named lock. A slash in the name of the group is written as %2F, so that no two pairs of group and lock
 * name share a row.
 */
export function lockName(group: string, name: string): string {
  return `hedge/lock/${withoutSlash(group)}/${name}`;
}

function withoutSlash(group: string): string {
  return group.replaceAll(/[%/]/g, encodeURIComponent);
}

/** Key of the log row that holds a group's secret; its id is always `secret`. */
export function secretKey(group: string): string {
  return `${SECRETS}${group}`;
}

/** Key of the log row in which members report to a leader that they cannot reach it. One row, overwritten. */
export function unreachableKey(group: string): string {
  return `__hedge/unreachable/${group}`;
}

/** Key of the log row that names the last app version to which a leader has handed over. One row, overwritten. */
export function handOverKey(group: string): string {
  return `__hedge/handover/${group}`;
}

/** The prefix of `keySpaceKey`. */
export const KEY_SPACES = '__hedge/kv/';

/** The prefix of `compactedKey`. */
export const COMPACTED = '__hedge/compacted/';

/**
 * Key of the log row which says that versions of keys with this prefix were deleted. One row, with the id `-`. Its timestamp
 * is greater than those of all of them, and its value is the same as text.
 */
export function compactedKey(prefix: string): string {
  return COMPACTED + prefix;
}

/** Key of the log row that the leader of a group overwrites to distinguish old versions from young ones. One row. */
export function retentionKey(group: string): string {
  return `__hedge/retention/${group}`;
}

/**
 * The prefix of the keys of expiry rows, each followed by a key that was put with a time to live. The row has the id of that
 * version, and its time to live as its value. It is written in the same commit. A slash in the name of the group is written
 * as %2F.
 */
export function expiryPrefix(group: string): string {
  return `__hedge/expiry/${withoutSlash(group)}/`;
}

/** The prefix of `secretKey`. */
export const SECRETS = '__hedge/secret/';

/** Key of the log row with the prefix of a group's keys in KvStore. One row, overwritten. */
export function keySpaceKey(group: string): string {
  return `${KEY_SPACES}${group}`;
}

/** Key of the log row of a semaphore, and id of its mirror rows. */
export function semaphoreKey(name: string): string {
  return `__hedge/semaphore/${name}`;
}

/** Key of the permit row of a held permit; its id is the key of the semaphore. */
export function permitKey(id: string): string {
  return `__hedge/permit/${id}`;
}

/** Id of the row of a semaphore. */
export function semaphoreRowId(limit: number): string {
  return `limit=${limit}`;
}

/** The reverse of `semaphoreRowId`; 0, which is never a limit, for a foreign text. */
export function limitOfRowId(id: string): number {
  return Number(/^limit=(\d{1,15})$/.exec(id)?.[1] ?? 0);
}

/** Key of the mirror rows of one member. */
export function callerKey(address: string): string {
  return `__caller=${address}`;
}

/**
 * The row of a semaphore, and the rows that mirror a part of it: of its holders and of its permits. A mirror row has the
 * key of the semaphore as its id; one without a value is deleted.
 */
export function semaphoreRows({ name, limit, value, leader, holders, permits = [] }: SemaphoreWrite) {
  return {
    row: { key: semaphoreKey(name), id: semaphoreRowId(limit), value, leader },
    mirrors: [
      ...holders.map((holder) => ({ key: callerKey(holder.address), value: holder.value })),
      ...permits.map(({ id, permitMs }) => ({ key: permitKey(id), value: permitMs?.toString() })),
    ],
  };
}

/** Key of the log rows of the ledger of one job of a group. */
export function jobKey(group: string, job: string): string {
  return `__hedge/job/${group}/${job}`;
}

/** Key of the log rows of the registry of all jobs of a group: their pauses. */
export function jobRegistryKey(group: string): string {
  return `__hedge/jobs/${group}`;
}

/** Whether this library or the Go library reserves the key. Users cannot use reserved keys. */
export function isReservedKey(key: string): boolean {
  return reservedPrefixOf(key) !== undefined;
}

/** The key behind which a scan in the order of keys goes on after this key: reserved keys are skipped, which may be millions. */
export function scanAfter(key: string): string {
  const prefix = reservedPrefixOf(key);
  if (prefix === undefined) return key;
  // No reserved key sorts behind it.
  const last = `${prefix}\u{10FFFF}`;
  return compareText(key, last) < 0 ? last : key;
}

function reservedPrefixOf(key: string): string | undefined {
  return ['__hedge/', '__caller='].find((prefix) => key.startsWith(prefix));
}

/**
 * Rejects a user's text with the prefix of a reserved key.
 * @param what the kind of text, for the error message: `key`.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertNotReserved(what: string, text: string): void {
  if (!isReservedKey(text)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The ${what} "${text.slice(0, 40)}" is reserved: the prefixes __hedge/ and __caller= belong to this library. Use another name.`,
  );
}

/**
 * The writer column of a lease row: `host:port incarnation leaseMs`. A client has no address but may hold locks, so it
 * gives another name, which is not empty and has no space.
 */
export function formatWriter(holder: { address: string; incarnation: string }, leaseMs: number): string {
  return `${holder.address} ${holder.incarnation} ${leaseMs}`;
}

/** The reverse of `formatWriter`; undefined for an empty or foreign text. */
export function parseWriter(
  writer: string | null | undefined,
): { holder: { address: string; incarnation: string }; leaseMs: number } | undefined {
  const match = /^(\S+) (\S+) (\d+)$/.exec(writer ?? '');
  if (match === null) return undefined;
  const [, address = '', incarnation = '', leaseMs = ''] = match;
  return { holder: { address, incarnation }, leaseMs: Number(leaseMs) };
}

/** A row as `LeaseTable.list` returns it; nothing for a foreign writer. */
export function toListedLease(row: {
  readonly name: string;
  readonly token: bigint;
  readonly writer: string | null | undefined;
  readonly ageMs: number;
}): ListedLease[] {
  const { name, token, ageMs } = row;
  const claim = parseWriter(row.writer);
  return claim === undefined ? [] : [{ name, token, ...claim, ageMs: Math.max(0, ageMs) }];
}

/** The assumed lease, in milliseconds, of a writer that this version cannot read: it may be a newer version. */
export const FOREIGN_LEASE_MS = 60_000;
