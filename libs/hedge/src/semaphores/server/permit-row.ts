import type { HolderRow, PermitRow, SemaphoreRow } from '../../database/permit-table.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { otherGroup } from '../semaphore-errors.js';

/** One grant, as stored in the row of the semaphore. */
export interface HeldPermit {
  readonly id: string;
  readonly holder: MemberId;
  readonly permits: number;
  /** How long the permit lasts without renewal, in milliseconds, as set by the leader that granted it. */
  readonly permitMs: number;
  /** The commit time of the write that granted it, in nanoseconds. */
  readonly token: bigint;
}

/** A permit in a write; the commit time of a new grant is not known yet. */
export type GrantedPermit = Omit<HeldPermit, 'token'> & { readonly token?: bigint };

/** The state of a semaphore, as stored in its row. */
export interface SemaphoreState {
  readonly limit: number;
  /** The version that the next write must follow; 0n when there is no row. */
  readonly version: bigint;
  readonly held: ReadonlyMap<string, HeldPermit>;
}

/**
 * The name of a semaphore in its group. Groups may share tables, but not a semaphore, because a leader hears only the
 * members of its own group.
 */
export interface SemaphoreName {
  readonly group: string;
  readonly name: string;
}

/** The value of a row: plain JSON, which people can query. */
interface StoredPermits {
  group: string;
  permits: StoredPermit[];
}

interface StoredPermit {
  id: string;
  holder: string;
  incarnation: string;
  permits: number;
  ms: number;
  /** As digits. Absent in the write that grants the permit: then the token is the timestamp of that row. */
  token?: string;
}

/** The value of the row, and of a member's mirror row. */
export function formatPermits(group: string, held: Iterable<GrantedPermit>): string {
  const permits = Array.from(held, ({ id, holder, permits, permitMs, token }): StoredPermit => {
    const { address, incarnation } = holder;
    const stored: StoredPermit = { id, holder: address, incarnation, permits, ms: permitMs };
    return token === undefined ? stored : { ...stored, token: String(token) };
  });
  return JSON.stringify({ group, permits } satisfies StoredPermits);
}

/** @throws HedgeError CONFLICT when the row belongs to another group, or this version of the library cannot read it. */
export function readState({ group, name }: SemaphoreName, row: SemaphoreRow): SemaphoreState {
  const { limit, value, timestamp } = row;
  try {
    const { group: owner, permits } = JSON.parse(value) as StoredPermits;
    if (owner !== group) throw otherGroup(name, group, owner);
    const held = permits.map(({ id, holder, incarnation, permits, ms, token }): [string, HeldPermit] => {
      const granted = token === undefined ? timestamp : BigInt(token);
      return [id, { id, holder: { address: holder, incarnation }, permits, permitMs: ms, token: granted }];
    });
    return { limit, version: timestamp, held: new Map(held) };
  } catch (cause) {
    if (cause instanceof HedgeError) throw cause;
    throw new HedgeError(
      'CONFLICT',
      `The row of semaphore "${name}" has a value that this version cannot read. Run one version of nestjs-hedge on all pods, or delete the row while no pod uses the semaphore.`,
      { cause },
    );
  }
}

/** The mirror rows of all holders whose permits a write changes. */
export function holderRows(
  group: string,
  before: ReadonlyMap<string, GrantedPermit>,
  after: ReadonlyMap<string, GrantedPermit>,
): HolderRow[] {
  const changed = new Set<string>();
  for (const [id, permit] of before) if (!after.has(id)) changed.add(mirrorAddress(permit.holder));
  for (const [id, permit] of after) if (!before.has(id)) changed.add(mirrorAddress(permit.holder));
  const kept = [...after.values()];
  return Array.from(changed, (address) => {
    const own = kept.filter(({ holder }) => mirrorAddress(holder) === address);
    return own.length === 0 ? { address } : { address, value: formatPermits(group, own) };
  });
}

/** The permit rows of all permits that a write grants or frees. */
export function permitRows(
  before: ReadonlyMap<string, GrantedPermit>,
  after: ReadonlyMap<string, GrantedPermit>,
): PermitRow[] {
  const freed = [...before.keys()].filter((id) => !after.has(id));
  const granted = [...after.values()].filter(({ id }) => !before.has(id));
  return [...freed.map((id) => ({ id })), ...granted.map(({ id, permitMs }) => ({ id, permitMs }))];
}

/** The name of a holder in its mirror row: a client has no address, so its incarnation stands for it. */
function mirrorAddress({ address, incarnation }: MemberId): string {
  return address === '' ? `client/${incarnation}` : address;
}
