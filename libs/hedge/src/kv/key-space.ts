import { KEY_SPACES, keySpaceKey, SECRETS } from '../database/row-names.js';
import type { LogTable } from '../database/log-table.js';

export interface KeySpace {
  readonly group: string;
  /** The prefix of all keys of the group in the log table; '' for none. */
  readonly prefix: string;
  /** Whether the app has set the prefix. Then it may share keys on purpose. */
  readonly chosen: boolean;
}

/** Limit of the groups that are checked. */
const MAX_GROUPS = 100;

/**
 * Records which keys of the log table this group uses, and looks for other groups that use the same keys. The leader calls
 * it when it is first elected.
 *
 * @param leader address of this pod.
 * @returns warnings for the log.
 * @throws HedgeError of the log table. No other code depends on the check.
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
  // A group of version 0.1 has no such row, but it has a secret.
  for (const place of [KEY_SPACES, SECRETS]) {
    const keys = await log.keys({ prefix: place, limit: MAX_GROUPS });
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

/** The recorded prefix of a group. Undefined without a record, or when this version cannot read it. */
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
  return `The keys of group ${group} in KvStore begin with ${show(prefix)} now, and began with ${show(before)} before: reads do not find the values under the old keys. Set the same kv.prefix on all pods. If you changed it on purpose, move the keys as docs/groups.md describes`;
}

function shared(group: string, others: readonly string[]): string {
  const names = others.slice(0, 5).join(', ') + (others.length > 5 ? ` and ${others.length - 5} more` : '');
  return `Group ${group} shares its keys in KvStore with ${names}, on the same tables: each group reads and overwrites the values of the others. Set kv.prefix to a different prefix for each group, or to '' to share keys on purpose`;
}

function show(prefix: string): string {
  return prefix === '' ? 'no prefix' : `"${prefix}"`;
}
