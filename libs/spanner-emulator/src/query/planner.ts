import { invalidArgument } from '../common/status.js';
import type { KeyRange } from '../common/sorted-map.js';
import type { Hint } from '../sql/ast.js';
import type { Bound } from '../sql/scope.js';
import type { Value } from '../sql/types.js';
import { normalizeRanges } from '../storage/access.js';
import {
  after,
  encodePart,
  FULL_RANGE,
  nonNullRange,
  pointRange,
  prefixRange,
  startsWithRange,
  type KeyColumn,
} from '../storage/key-encoding.js';
import type { Index, Table } from '../storage/table.js';

/** One column of ORDER BY. */
export interface SortColumn {
  readonly column: number;
  readonly descending: boolean;
}

export interface Plan {
  readonly index?: Index;
  readonly ranges: readonly KeyRange[];
  readonly reverse: boolean;
  /** The scan returns rows in the wanted order: no sort is necessary, and LIMIT can stop it. */
  readonly ordered: boolean;
}

/** Limit of the enumerated combinations of IN lists. */
const MAX_PREFIXES = 10_000;

/**
 * Narrows the scan of one table to ranges of its primary key or of an index, from the conditions of WHERE on the columns
 * (the condition is still applied to every row). Prefers a key that also has the wanted order.
 *
 * @param order the columns to sort by; undefined when ORDER BY has other expressions
 * @param pending columns whose indexes may not be used
 */
export const planScan = (
  table: Table,
  bounds: readonly Bound[],
  order: readonly SortColumn[] | undefined,
  hints: readonly Hint[],
  pending: ReadonlySet<number> | undefined,
): Plan => {
  const usable = table.indexes.filter(({ key }) => !key.some(({ column }) => pending?.has(column)));
  const candidates = forced(table, hints) ?? [undefined, ...usable];
  let best: { plan: Plan; score: number } | undefined;
  for (const index of candidates) {
    const key = index?.key ?? table.key;
    const { ranges, fixed, narrowed } = keyRanges(key, bounds);
    const direction = order && scanDirection(key, fixed, order);
    const plan: Plan = { index, ranges, reverse: direction === 'reverse', ordered: direction !== undefined };
    const score = narrowed + (direction !== undefined && order!.length > 0 ? 0.25 : 0);
    if (!best || score > best.score) best = { plan, score };
  }
  return best!.plan;
};

const forced = (table: Table, hints: readonly Hint[]): readonly (Index | undefined)[] | undefined => {
  const name = hints.at(-1)?.value;
  if (name === undefined) return undefined;
  if (name.toUpperCase() === '_BASE_TABLE') return [undefined];
  const index = table.indexes.find((candidate) => candidate.name.toLowerCase() === name.toLowerCase());
  if (!index) throw invalidArgument(`The table ${table.name} does not have a secondary index called ${name}`);
  return [index];
};

interface KeyRanges {
  readonly ranges: KeyRange[];
  /** Columns that have the same value in all ranges. */
  readonly fixed: ReadonlySet<number>;
  /** The number of key columns that narrow the scan. A column with only a bound counts half. */
  readonly narrowed: number;
}

const keyRanges = (key: readonly KeyColumn[], bounds: readonly Bound[]): KeyRanges => {
  let prefixes = [''];
  const fixed = new Set<number>();
  for (const [i, part] of key.entries()) {
    const here = bounds.filter(({ column }) => column === part.column);
    const equal = equalValues(here);
    if (!equal || prefixes.length * equal.length > MAX_PREFIXES) {
      if (!here.some(({ kind }) => kind !== 'in' && kind !== 'isNull'))
        return { ranges: join(prefixes), fixed, narrowed: i };
      const ranges = normalizeRanges(prefixes.map((prefix) => bounded(prefix, part, here)));
      return { ranges, fixed, narrowed: i + 0.5 };
    }
    const encoded = equal.map((value) => encodePart(value, part));
    prefixes = prefixes.flatMap((prefix) => encoded.map((bytes) => prefix + bytes));
    if (equal.length === 1) fixed.add(part.column);
  }
  return { ranges: normalizeRanges(prefixes.map(pointRange)), fixed, narrowed: key.length };
};

const join = (prefixes: readonly string[]): KeyRange[] =>
  normalizeRanges(prefixes.map((prefix) => (prefix === '' ? FULL_RANGE : prefixRange(prefix))));

/** The possible values of the column. Without NULL, because a comparison with NULL is never true. */
const equalValues = (bounds: readonly Bound[]): readonly Value[] | undefined => {
  const equal = bounds.find(({ kind }) => kind === 'in');
  if (equal) return [...new Set(equal.values)].filter((value) => value !== null);
  return bounds.some(({ kind }) => kind === 'isNull') ? [null] : undefined;
};

/** The ranges of `prefix` that match the comparisons on its next key column. */
const bounded = (prefix: string, part: KeyColumn, bounds: readonly Bound[]): KeyRange => {
  let { start, end } = nonNullRange(prefix, part);
  for (const { kind, values } of bounds) {
    if (kind === 'in' || kind === 'isNull') continue;
    const value = values[0]!;
    if (value === null) return { start, end: start };
    if (kind === 'prefix') {
      const range = startsWithRange(prefix, value as string, part);
      if (range.start > start) start = range.start;
      if (range.end < end) end = range.end;
      continue;
    }
    const at = prefix + encodePart(value, part);
    const lower = part.descending ? kind === '<' || kind === '<=' : kind === '>' || kind === '>=';
    const inclusive = kind === '<=' || kind === '>=';
    // A lower bound starts at the value or above it, an upper bound ends above the value or at it.
    const edge = lower === inclusive ? at : after(at);
    if (lower && edge > start) start = edge;
    if (!lower && edge < end) end = edge;
  }
  return { start, end };
};

/** The direction of a scan of the key that returns rows in this order; undefined if there is none. */
const scanDirection = (
  key: readonly KeyColumn[],
  fixed: ReadonlySet<number>,
  order: readonly SortColumn[],
): 'forward' | 'reverse' | undefined => {
  let direction: 'forward' | 'reverse' | undefined;
  let at = 0;
  for (const { column, descending } of order) {
    if (fixed.has(column)) continue;
    while (at < key.length && fixed.has(key[at]!.column)) at++;
    const part = key[at];
    // After the whole key there is one row, so further columns do not matter.
    if (!part) break;
    if (part.column !== column) return undefined;
    const needed = part.descending === descending ? 'forward' : 'reverse';
    if (direction !== undefined && direction !== needed) return undefined;
    direction = needed;
    at++;
  }
  return direction ?? 'forward';
};
