import type { KeyRange } from '../common/sorted-map.js';
import type { Row } from '../sql/types.js';
import type { Index, Table } from './table.js';

/** The rows of a scan: ranges of the primary key of a table or of one of its indexes. */
export interface Access {
  readonly table: Table;
  readonly index?: Index;
  /** In order and disjoint. */
  readonly ranges: readonly KeyRange[];
  /** From the last to the first. */
  readonly reverse?: boolean;
  /** Positions of the columns that are read: they are locked, and must not be pending. */
  readonly columns: Iterable<number>;
  /** Locks scanned rows against readers, too. */
  readonly exclusive?: boolean;
}

/** Rows as seen by one transaction, or at one timestamp. */
export interface View {
  rows(access: Access): Iterable<Row>;
}

/** Sorts ranges, drops empty ones, and merges overlapping ones. */
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
