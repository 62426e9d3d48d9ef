import { invalidArgument } from '../common/status.js';
import type { KeyRange } from '../common/sorted-map.js';
import type { Nanos } from '../common/timestamps.js';
import { PENDING, type Row, type Value } from '../sql/types.js';
import { inRanges, type Access, type View } from './access.js';
import { encodePart, pointRange, prefixRange } from './key-encoding.js';
import { ALL_COLUMNS, columnMask, EXISTENCE, type ColumnMask, type LockRequest } from './locks.js';
import { checkRow } from './row-checks.js';
import type { Index, Table } from './table.js';

/** New values for some columns of an existing row. */
type Patch = ReadonlyMap<number, Value>;
/** A whole row, a patch, or null for a deletion. */
type Change = Row | Patch | null;

/** The row after the change. A patch does not contain other columns, which other transactions may change meanwhile. */
const changed = (row: Row | undefined, change: Change | undefined): Row | undefined => {
  if (change === undefined) return row;
  if (change === null) return undefined;
  if (!(change instanceof Map)) return change as Row;
  return row?.map((value, column) => (change.has(column) ? (change.get(column) as Value) : value));
};

/** The uncommitted writes of a transaction. */
export class ChangeSet {
  readonly tables = new Map<Table, Map<string, Change>>();
  /** Columns written with the commit timestamp, which is not known yet. */
  readonly pending = new Map<Table, Set<number>>();

  /** The row as this transaction sees it: the committed row with its own changes. */
  apply(table: Table, key: string, row: Row | undefined): Row | undefined {
    return changed(row, this.tables.get(table)?.get(key));
  }

  set(table: Table, key: string, change: Change): void {
    let rows = this.tables.get(table);
    if (!rows) this.tables.set(table, (rows = new Map()));
    const earlier = rows.get(key);
    if (change instanceof Map && earlier instanceof Map) rows.set(key, new Map([...earlier, ...(change as Patch)]));
    else rows.set(key, change instanceof Map && earlier ? changed(earlier as Row, change)! : change);
    for (const [column, value] of change?.entries() ?? []) {
      if (value !== PENDING) continue;
      const columns = this.pending.get(table);
      if (columns) columns.add(column);
      else this.pending.set(table, new Set([column]));
    }
  }

  clear(): void {
    this.tables.clear();
    this.pending.clear();
  }

  absorb(other: ChangeSet): void {
    for (const [table, rows] of other.tables) for (const [key, change] of rows) this.set(table, key, change);
  }
}

/**
 * The run of one statement inside a transaction. It reads committed rows with the changes of the transaction, records all
 * necessary locks, and buffers its writes. It has no outside effect until the locks are granted. If they are not granted at
 * once, the run is discarded and repeated.
 */
export class Work implements View {
  readonly requests: LockRequest[] = [];
  readonly changes = new ChangeSet();

  /** @param now for the check that no written commit timestamp is in the future */
  constructor(
    private readonly before: ChangeSet,
    readonly now: Nanos,
    private readonly onRow: () => void,
  ) {}

  *rows(access: Access): Generator<Row> {
    const { table, index, ranges, reverse = false, exclusive = false } = access;
    this.refusePending(access);
    const columns = columnMask(access.columns) | EXISTENCE;
    const space = (index ?? table).locks;
    for (const range of ranges) this.requests.push({ space, range, exclusive, columns: index ? ALL_COLUMNS : columns });
    for (const [key, row] of this.scan(table, index, ranges, reverse)) {
      this.onRow();
      if (index) this.requests.push({ space: table.locks, range: pointRange(key), exclusive, columns });
      yield row;
    }
  }

  /** The rows of a range of the primary key to delete. Unlike a read, it may contain pending values. */
  takeRange(table: Table, range: KeyRange): [string, Row][] {
    this.requests.push({ space: table.locks, range, exclusive: true, columns: ALL_COLUMNS });
    return [...this.scan(table, undefined, [range], false)];
  }

  /** Reads a row that the caller is about to write, so that the lock of the write covers the read. */
  current(table: Table, key: string): Row | undefined {
    return this.changes.apply(table, key, this.before.apply(table, key, table.rows.get(key)));
  }

  /** Records that the existence of the row mattered, although nothing was written. */
  lockRow(table: Table, key: string): void {
    this.requests.push({ space: table.locks, range: pointRange(key), exclusive: true, columns: ALL_COLUMNS });
  }

  /** Writes a row. `columns` are the changed columns of an existing row; undefined for a new or replaced row. */
  put(table: Table, key: string, row: Row, columns?: readonly number[]): void {
    checkRow(table, key, row, this.now);
    this.lockWrite(table, key, row, columns ? columnMask(columns) : ALL_COLUMNS);
    this.changes.set(table, key, columns ? new Map(columns.map((column) => [column, row[column]!])) : row);
  }

  remove(table: Table, key: string): void {
    this.lockWrite(table, key, undefined, ALL_COLUMNS);
    this.changes.set(table, key, null);
  }

  private lockWrite(table: Table, key: string, row: Row | undefined, columns: ColumnMask): void {
    this.requests.push({ space: table.locks, range: pointRange(key), exclusive: true, columns });
    if (table.indexes.length === 0) return;
    const old = this.current(table, key);
    for (const index of table.indexes) this.lockEntries(index, old, row);
  }

  private lockEntries(index: Index, old: Row | undefined, fresh: Row | undefined): void {
    const entries = [old, fresh].map((row) => row && index.entryOf(row));
    if (entries[0] === entries[1]) return;
    for (const [i, row] of [old, fresh].entries()) {
      if (!row) continue;
      const unknown = index.key.findIndex(({ column }) => row[column] === PENDING);
      const known = index.key.slice(0, unknown).map((part) => encodePart(row[part.column]!, part));
      // The position of a commit timestamp in the key is not known yet, so all possible positions are locked.
      const range = unknown < 0 ? pointRange(entries[i]!) : prefixRange(known.join(''));
      this.requests.push({ space: index.locks, range, exclusive: true, columns: ALL_COLUMNS });
    }
  }

  private *scan(
    table: Table,
    index: Index | undefined,
    ranges: readonly KeyRange[],
    reverse: boolean,
  ): Generator<[string, Row]> {
    const own = new Set([
      ...(this.before.tables.get(table)?.keys() ?? []),
      ...(this.changes.tables.get(table)?.keys() ?? []),
    ]);
    const committed = this.committed(table, index, reverse ? [...ranges].reverse() : ranges, reverse);
    if (own.size === 0) {
      for (const [, key, row] of committed) yield [key, row];
      return;
    }
    // [position in the scanned order, key of the row, row]
    const merged: [string, string, Row][] = [];
    for (const entry of committed) if (!own.has(entry[1])) merged.push(entry);
    for (const key of own) {
      const row = this.current(table, key);
      const place = row && (index ? index.entryOf(row) : key);
      if (place !== undefined && inRanges(place, ranges)) merged.push([place, key, row!]);
    }
    merged.sort(([a], [b]) => (a < b === reverse ? 1 : -1));
    for (const [, key, row] of merged) yield [key, row];
  }

  private *committed(
    table: Table,
    index: Index | undefined,
    ranges: readonly KeyRange[],
    reverse: boolean,
  ): Generator<[string, string, Row]> {
    for (const range of ranges) {
      if (!index) {
        for (const [key, row] of table.rows.scan(range, undefined, reverse)) yield [key, key, row];
      } else {
        for (const [entry, key] of index.entries.scan(range, undefined, reverse)) {
          yield [entry, key, table.rows.get(key)!];
        }
      }
    }
  }

  private refusePending({ table, index, columns }: Access): void {
    const pending = this.before.pending.get(table);
    if (!pending) return;
    const key = table.key.some(({ column }) => pending.has(column));
    const read = [...columns, ...(index?.key ?? []).map(({ column }) => column)];
    const column = read.find((candidate) => pending.has(candidate));
    if (!key && column === undefined) return;
    const what = key ? `Table ${table.name}` : `Column ${table.columns[column!]!.name}`;
    throw invalidArgument(
      `${what} cannot be accessed because it, or its associated index, has a pending CommitTimestamp`,
    );
  }
}
