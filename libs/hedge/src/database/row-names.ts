import { HedgeError } from '../common/errors.js';

/** Row name of a group's election lease. Not spindle's on purpose: Go pods write theirs without a token check. */
export function leaseName(group: string): string {
  return `hedge/lease/${group}`;
}

/**
 * Row name of a named lock. In the group's name a slash is written as %2F, so that no two pairs of group and name
 * share a row.
 */
export function lockName(group: string, name: string): string {
  return `hedge/lock/${group.replaceAll(/[%/]/g, encodeURIComponent)}/${name}`;
}

/** Key of the log row that holds a group's secret; its id is always `secret`. */
export function secretKey(group: string): string {
  return `${SECRETS}${group}`;
}

/** Key of the log row by which members tell a leader that they cannot reach it. One row, overwritten. */
export function unreachableKey(group: string): string {
  return `__hedge/unreachable/${group}`;
}

/** Where the keys of `keySpaceKey` begin. */
export const KEY_SPACES = '__hedge/kv/';

/** Where the keys of `secretKey` begin. */
export const SECRETS = '__hedge/secret/';

/** Key of the log row that tells which prefix a group's keys in KvStore have. One row, overwritten. */
export function keySpaceKey(group: string): string {
  return `${KEY_SPACES}${group}`;
}

/** Key of the log row that arbitrates a semaphore, and id of the rows that mirror it. */
export function semaphoreKey(name: string): string {
  return `__hedge/semaphore/${name}`;
}

/** Id of the row that arbitrates a semaphore. */
export function semaphoreRowId(limit: number): string {
  return `limit=${limit}`;
}

/** The reverse of `semaphoreRowId`; 0, which is no semaphore's limit, for a foreign text. */
export function limitOfRowId(id: string): number {
  return Number(/^limit=(\d{1,15})$/.exec(id)?.[1] ?? 0);
}

/** Key of the log rows that tell what one member holds. */
export function callerKey(address: string): string {
  return `__caller=${address}`;
}

/** Key of the log rows that are the ledger of one of the group's jobs. */
export function jobKey(group: string, job: string): string {
  return `__hedge/job/${group}/${job}`;
}

/** Keys this library keeps for itself (Go's too); users are refused them. */
export function isReservedKey(key: string): boolean {
  return key.startsWith('__hedge/') || key.startsWith('__caller=');
}

/**
 * Refuses a user's text that begins as a reserved key does.
 * @param what it is, for the error's message: `key`.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertNotReserved(what: string, text: string): void {
  if (!isReservedKey(text)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The ${what} "${text.slice(0, 40)}" is reserved: what begins with __hedge/ or __caller= is this library's own. Use another name.`,
  );
}

/**
 * The writer column of a lease row: `host:port incarnation leaseMs`. A client, which has no address and may
 * hold locks, gives a name of its own: it is never empty, and has no space.
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

/** A writer that this version cannot read may be a newer one's: its lease is taken to be this long, in milliseconds. */
export const FOREIGN_LEASE_MS = 60_000;
