import type { KeyRange } from '../common/sorted-map.js';
import type { Row } from '../sql/types.js';
import type { Index, Table } from './table.js';

/** Which rows to look at: ranges of a table's primary key or of one of its indexes. */
export interface Access {
  readonly table: Table;
  readonly index?: Index;
  /** In order and disjoint. */
  readonly ranges: readonly KeyRange[];
  /** From the last to the first. */
  readonly reverse?: boolean;
  /** Positions of the columns that will be looked at: what is locked, and what may not be pending. */
  readonly columns: Iterable<number>;
  /** Locks what is scanned against readers too. */
  readonly exclusive?: boolean;
}

/** Rows as one transaction, or one moment, sees them. */
export interface View {
  rows(access: Access): Iterable<Row>;
}

/** Ranges sorted, empty ones dropped, overlapping ones joined. */
export const normalizeRanges = (ranges: readonly KeyRange[]): KeyRange[] => {
  const sorted = ranges.filter(({ start, end }) => start < end).sort((a, b) => (a.start < b.start ? -1 : 1));
  const joined: KeyRange[] = [];
  for (const range of sorted) {
    const last = joined.at(-1);
    if (!last || range.start >= last.end) joined.push(range);
    else if (range.end > last.end) joined[joined.length - 1] = { start: last.start, end: range.end };
  }
  return joined;
};

export const inRanges = (key: string, ranges: readonly KeyRange[]): boolean =>
  ranges.some(({ start, end }) => key >= start && key < end);
