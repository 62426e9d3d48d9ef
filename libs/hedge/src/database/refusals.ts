import { HedgeError } from '../common/errors.js';
import { MOST_RENEWALS } from './lease-table.js';
import type { Fence } from './log-table.js';

/** A row that is already there with another value; the same words from every driver. */
export function conflict(row: { readonly key: string; readonly id: string }): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Key "${row.key}" already has a version with id "${row.id}" and another value, which was left as it is. Use a new id for a new value.`,
    { details: { key: row.key, id: row.id } },
  );
}

/** A fenced write whose lease was taken since; the same words from every driver. */
export function leaseLost(fence: Fence, found: bigint): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `Nothing was written: lease "${fence.lease}" has token ${found}, not ${fence.token}; another member took it since. Leave the work to the new leader.`,
    { details: { lease: fence.lease, expected: String(fence.token), found: String(found) } },
  );
}

/** More renewals at once than the contract allows; the same words from every driver. */
export function assertRenewals(leases: readonly unknown[]): void {
  if (leases.length <= MOST_RENEWALS) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `${leases.length} leases were to be renewed at once; at most ${MOST_RENEWALS} may. Renew them in several calls.`,
  );
}
