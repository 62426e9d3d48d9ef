import { KEY_SPACES, keySpaceKey, SECRETS } from '../database/row-names.js';
import type { LogTable } from '../database/log-table.js';

export interface KeySpace {
  readonly group: string;
  /** What each key of the group begins with in the log table; '' for nothing. */
  readonly prefix: string;
  /** Whether the app has set the prefix: then it may mean to share keys. */
  readonly chosen: boolean;
}

/** Groups that are looked at; more on the same tables are not told of. */
const MOST_GROUPS = 100;

/**
 * Writes down which keys of the log table this group uses, and looks for other groups that use the same ones. Called by
 * the leader when it is first elected.
 *
 * @param leader address of this pod.
 * @returns warnings for the log.
 * @throws HedgeError of the log table; nothing depends on it.
 */
export async function checkKeySpace(log: LogTable, space: KeySpace, leader: string): Promise<readonly string[]> {
  const before = await prefixOf(log, space.group);
  if (before !== space.prefix) {
    await log.overwrite({ key: keySpaceKey(space.group), value: JSON.stringify({ prefix: space.prefix }), leader });
  }
  const warnings: string[] = [];
  if (before !== undefined && before !== space.prefix) warnings.push(changed(space, before));
  const others = await groupsThatShare(log, space);
  if (others.length > 0 && !space.chosen) warnings.push(shared(space.group, others));
  return warnings;
}

async function groupsThatShare(log: LogTable, { group, prefix }: KeySpace): Promise<string[]> {
  const found = new Set<string>();
  // A group of version 0.1 has no row of its own, but it has a secret.
  for (const place of [KEY_SPACES, SECRETS]) {
    const keys = await log.keys({ prefix: place, limit: MOST_GROUPS });
    for (const key of keys) found.add(key.slice(place.length));
  }
  found.delete(group);
  const sharing: string[] = [];
  for (const other of found) {
    const otherPrefix = (await prefixOf(log, other)) ?? '';
    if (prefix.startsWith(otherPrefix) || otherPrefix.startsWith(prefix)) sharing.push(other);
  }
  return sharing;
}

/** Undefined for a group that has not written it down, or in a way that this version cannot read. */
async function prefixOf(log: LogTable, group: string): Promise<string | undefined> {
  const row = await log.latest(keySpaceKey(group));
  try {
    const { prefix } = JSON.parse(row?.value ?? '{}') as { prefix?: unknown };
    return typeof prefix === 'string' ? prefix : undefined;
  } catch {
    return undefined;
  }
}

function changed({ group, prefix }: KeySpace, before: string): string {
  return `The keys of group ${group} in KvStore begin with ${show(prefix)} now, and began with ${show(before)} before: values under the old keys are not found. Set the same kv.prefix on all pods. If the change is meant, move the keys as docs/groups.md says`;
}

function shared(group: string, others: readonly string[]): string {
  const names = others.slice(0, 5).join(', ') + (others.length > 5 ? ` and ${others.length - 5} more` : '');
  return `Group ${group} shares its keys in KvStore with ${names}, on the same tables: each reads and overwrites the values of the other. Set kv.prefix to a prefix of its own, or to '' if sharing is meant`;
}

function show(prefix: string): string {
  return prefix === '' ? 'no prefix' : `"${prefix}"`;
}
