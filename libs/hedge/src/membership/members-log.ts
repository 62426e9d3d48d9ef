import type { View, ViewMember } from './view.js';

/** A line names at most this many members; a group may have hundreds. */
const MOST_NAMED = 10;

/**
 * A log line for a change of the members: all of them for the first view, else who joined and left. Undefined when the
 * members are the same: whether a new leader has heard from them changes soon.
 */
export function describeMembers(before: View | undefined, { members }: View): string | undefined {
  if (before === undefined) return `Members: ${named(members)}`;
  const joined = without(members, before.members);
  const left = without(before.members, members);
  if (joined.length + left.length === 0) return undefined;
  const changes = [joined.length > 0 && `joined: ${named(joined)}`, left.length > 0 && `left: ${named(left)}`];
  return `Members: ${members.length}, ${changes.filter((change) => change !== false).join('; ')}`;
}

function named(members: readonly ViewMember[]): string {
  const addresses = members.slice(0, MOST_NAMED).map(({ address }) => address);
  const more = members.length - addresses.length;
  return addresses.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** The members of the first list that the second one lacks. */
function without(members: readonly ViewMember[], others: readonly ViewMember[]): ViewMember[] {
  const known = new Set(others.map(({ incarnation }) => incarnation));
  return members.filter(({ incarnation }) => !known.has(incarnation));
}
