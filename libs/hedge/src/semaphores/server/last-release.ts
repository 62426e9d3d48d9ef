import type { LeaseTable } from '../../database/lease-table.js';
import { leaseName } from '../../database/row-names.js';
import type { PermitTable } from '../../database/permit-table.js';
import { formatPermits, holderRows, permitRows, readState } from './permit-row.js';

/** Another pod may write in between, rarely more than once. */
const TRIES = 3;

export interface LastReleaseDeps {
  readonly table: PermitTable;
  readonly leases: Pick<LeaseTable, 'read'>;
  readonly group: string;
  readonly address: () => string;
}

/**
 * Releases permits when the last pod of a group stops and there is no leader to ask. It writes only while the lease is
 * free, fenced by the last token, so that the write fails if a leader is elected meanwhile. Removing permits from a row,
 * under its version, grants nothing, so it is safe without a leader (S1).
 *
 * @returns whether the permits are released; false when there is a leader again, which then handles the release.
 */
export async function releaseWithoutLeader(
  { table, leases, group, address }: LastReleaseDeps,
  name: string,
  ids: ReadonlySet<string>,
): Promise<boolean> {
  const lease = leaseName(group);
  const { holder, token } = await leases.read(lease);
  if (holder !== undefined) return false;
  let row = await table.read(name);
  for (let tries = 0; tries < TRIES && row !== undefined; tries += 1) {
    const { limit, version, held } = readState({ group, name }, row);
    const kept = new Map([...held].filter(([id]) => !ids.has(id)));
    if (kept.size === held.size) return true;
    const value = formatPermits(group, kept.values());
    const holders = holderRows(group, held, kept);
    const permits = permitRows(held, kept);
    const write = { name, follows: version, limit, value, holders, permits, leader: address() };
    const result = await table.write(write, { lease, token });
    if (result.written) return true;
    row = result.row;
  }
  return row === undefined;
}
