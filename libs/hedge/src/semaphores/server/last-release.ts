import type { LeaseTable } from '../../database/lease-table.js';
import { leaseName } from '../../database/row-names.js';
import type { PermitTable } from '../../database/permit-table.js';
import { formatPermits, holderRows, readState } from './permit-row.js';

/** Somebody else may write in between, rarely more than once. */
const TRIES = 3;

export interface LastReleaseDeps {
  readonly table: PermitTable;
  readonly leases: Pick<LeaseTable, 'read'>;
  readonly group: string;
  readonly address: () => string;
}

/**
 * Gives permits back for the last pod of a group that stops: nobody leads whom it could ask. Only while the lease is
 * free, and fenced by its last token: a leader that is elected meanwhile makes it fail. Taking permits out of a row,
 * under its version, grants nothing to anybody, so it needs no leader to be safe (S1).
 *
 * @returns whether they are given back; when not, there is a leader again, whom to ask.
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
    const write = { name, follows: version, limit, value, holders, leader: address() };
    const result = await table.write(write, { lease, token });
    if (result.written) return true;
    row = result.row;
  }
  return row === undefined;
}
