import type { HolderRow, SemaphoreRow } from '../../database/permit-table.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { otherGroup } from '../semaphore-errors.js';

/** One grant, as the arbiter row has it. */
export interface HeldPermit {
  readonly id: string;
  readonly holder: MemberId;
  readonly permits: number;
  /** How long it lasts without renewal, in milliseconds: by the leader that granted it. */
  readonly permitMs: number;
  /** Commit time of the write that granted it, in nanoseconds. */
  readonly token: bigint;
}

/** A grant of the write that is being made, whose commit time nobody knows yet. */
export type GrantedPermit = Omit<HeldPermit, 'token'> & { readonly token?: bigint };

/** A semaphore as its row says. */
export interface SemaphoreState {
  readonly limit: number;
  /** What the next write follows; 0n when there is no row. */
  readonly version: bigint;
  readonly held: ReadonlyMap<string, HeldPermit>;
}

/** Which semaphore: groups may share tables, but not a semaphore, since each hears only its own members. */
export interface SemaphoreName {
  readonly group: string;
  readonly name: string;
}

/** The shape in the row: plain JSON, for people to query. */
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
  /** In digits. Absent in the write that granted it: then it is that row's own timestamp. */
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

/** @throws HedgeError CONFLICT when it is another group's, or of a version of this library that this one cannot read. */
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
      `The row of semaphore "${name}" holds a value that this version cannot read. Run one version of nestjs-hedge on all pods, or delete the row while nobody uses the semaphore.`,
      { cause },
    );
  }
}

/** The mirror rows of all whose permits a write changes. */
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

/** A client has no address, and is told apart by its incarnation. */
function mirrorAddress({ address, incarnation }: MemberId): string {
  return address === '' ? `client/${incarnation}` : address;
}
