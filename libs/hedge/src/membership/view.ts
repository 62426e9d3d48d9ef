import type { MemberId } from '../common/identity.js';
import type { Member, View as WireView, ViewChanges as WireViewChanges } from '../wire/hedge/v1/link.js';
import type { AdvertisedCapacity, FreeSpace } from './capacity-table.js';

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

/** The changes of a view since an earlier version of its term. */
export interface ViewChanges {
  readonly epoch: bigint;
  readonly version: number;
  /** The changes complete this version, and each later one below `version`. */
  readonly base: number;
  readonly settled: boolean;
  /** Members that are new, changed, or advertise another capacity. */
  readonly changed: readonly ViewMember[];
  /** Incarnations. */
  readonly removed: readonly string[];
}

/** Whether the first view is the later one. */
export function isLater(view: { epoch: bigint; version: number }, than: { epoch: bigint; version: number }): boolean {
  return view.epoch === than.epoch ? view.version > than.version : view.epoch > than.epoch;
}

/**
 * The view after the changes; undefined when they do not complete this view: it is of another term, or earlier than their
 * base.
 */
export function applyChanges(
  view: View,
  { epoch, version, base, settled, changed, removed }: ViewChanges,
): View | undefined {
  if (view.epoch !== epoch || view.version < base) return undefined;
  if (view.version >= version) return view;
  const members = new Map(view.members.map((member) => [member.incarnation, member]));
  for (const incarnation of removed) members.delete(incarnation);
  for (const member of changed) members.set(member.incarnation, member);
  return { ...view, version, settled, members: sortByAddress([...members.values()]) };
}

export function sortByAddress<Item extends MemberId>(members: Item[]): Item[] {
  return members.sort((a, b) => (a.address < b.address ? -1 : 1));
}

export function viewToWire(
  { epoch, version, settled, leader, members }: View,
  { spaces, edition }: AdvertisedCapacity,
): WireView {
  return {
    epoch,
    version,
    settled,
    leader: { ...leader, confirmed: true, spill: undefined },
    members: members.map((one) => ({ ...one, spill: spaces.get(one.incarnation) })),
    answersHeartbeats: true,
    capacityEdition: edition,
  };
}

/** @param capacity only of members in `changed`. */
export function changesToWire(
  { epoch, version, base, settled, changed, removed }: ViewChanges,
  { spaces, edition, base: capacityBase }: AdvertisedCapacity,
): WireViewChanges {
  return {
    epoch,
    version,
    base,
    settled,
    changed: changed.map((one) => ({ ...one, spill: spaces.get(one.incarnation) })),
    removed: [...removed],
    capacityEdition: edition,
    capacityBase,
  };
}

/** The capacity that members advertise, as received with a view or with its changes. */
export function capacityFromWire(members: readonly Member[], edition: number, base = 0): AdvertisedCapacity {
  const spaces = new Map<string, FreeSpace>();
  for (const { incarnation, spill } of members) if (spill !== undefined) spaces.set(incarnation, spill);
  return { spaces, edition, base };
}

/** A view as received from a peer; undefined when it is invalid: it has no leader, or a member without an address. */
export function viewFromWire({ epoch, version, settled, leader, members }: WireView): View | undefined {
  const led = members.some(({ incarnation }) => incarnation === leader?.incarnation);
  if (leader === undefined || !members.every(isWhole) || !led || !(version >= 1)) return undefined;
  return {
    epoch,
    version,
    settled,
    leader: { address: leader.address, incarnation: leader.incarnation },
    members: members.map(memberFromWire),
  };
}

/** Changes as received from a peer; undefined when they are invalid. */
export function changesFromWire({
  epoch,
  version,
  base,
  settled,
  changed,
  removed,
}: WireViewChanges): ViewChanges | undefined {
  if (!changed.every(isWhole) || !(base >= 1 && version >= base)) return undefined;
  return { epoch, version, base, settled, changed: changed.map(memberFromWire), removed };
}

function isWhole({ address, incarnation }: Member): boolean {
  return address !== '' && incarnation !== '';
}

function memberFromWire({ address, incarnation, confirmed }: Member): ViewMember {
  return { address, incarnation, confirmed };
}
