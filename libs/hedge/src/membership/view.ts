import type { MemberId } from '../common/identity.js';
import type { View as WireView } from '../wire/hedge/v1/link.js';
import type { FreeSpace, FreeSpaces } from './capacity-table.js';

export interface ViewMember extends MemberId {
  /** False while a new leader has not heard from a member that it inherited from the last view. */
  readonly confirmed: boolean;
}

/**
 * The members of the group, as its leader lists them. Views are ordered by epoch, then by version. A member never goes
 * back to an earlier view (M1).
 */
export interface View {
  /** The lease token of the leader that made it. */
  readonly epoch: bigint;
  /** Rises with every change within the epoch, from 1. */
  readonly version: number;
  /** False while a new leader still waits to hear from members: some may be missing or gone. */
  readonly settled: boolean;
  readonly leader: MemberId;
  /** All members, the leader included, sorted by address. No clients. */
  readonly members: readonly ViewMember[];
}

/** Whether the first view is the later one. */
export function isLater(view: { epoch: bigint; version: number }, than: { epoch: bigint; version: number }): boolean {
  return view.epoch === than.epoch ? view.version > than.version : view.epoch > than.epoch;
}

export function viewToWire({ epoch, version, settled, leader, members }: View, spaces: FreeSpaces): WireView {
  return {
    epoch,
    version,
    settled,
    leader: { ...leader, confirmed: true, spill: undefined },
    members: members.map((one) => ({ ...one, spill: spaces.get(one.incarnation) })),
    answersHeartbeats: true,
  };
}

/** The capacity that the members advertise, as received with a view. */
export function spacesFromWire({ members }: WireView): FreeSpaces {
  const spaces = new Map<string, FreeSpace>();
  for (const { incarnation, spill } of members) if (spill !== undefined) spaces.set(incarnation, spill);
  return spaces;
}

/** A view as received from a peer; undefined when it is invalid: it has no leader, or a member without an address. */
export function viewFromWire({ epoch, version, settled, leader, members }: WireView): View | undefined {
  const whole = members.every(({ address, incarnation }) => address !== '' && incarnation !== '');
  const led = members.some(({ incarnation }) => incarnation === leader?.incarnation);
  if (leader === undefined || !whole || !led || !(version >= 1)) return undefined;
  return {
    epoch,
    version,
    settled,
    leader: { address: leader.address, incarnation: leader.incarnation },
    members: members.map(({ address, incarnation, confirmed }) => ({ address, incarnation, confirmed })),
  };
}
