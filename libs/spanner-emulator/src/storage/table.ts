import type { Nanos } from '../common/timestamps.js';
import type { ColumnDefinition } from '../sql/ast.js';
import type { Row } from '../sql/types.js';
import { rowKey, type KeyColumn } from './key-encoding.js';
import { LockSpace } from './locks.js';
import { VersionedMap } from './versioned-map.js';

export const findColumn = (columns: readonly ColumnDefinition[], name: string): number => {
  const wanted = name.toLowerCase();
  return columns.findIndex((column) => column.name.toLowerCase() === wanted);
};

/** A table: its definition, the history of its rows by encoded primary key, and its indexes. */
export class Table {
  readonly rows = new VersionedMap<Row>();
  readonly locks = new LockSpace();
  readonly indexes: Index[] = [];

  constructor(
    readonly name: string,
    readonly columns: readonly ColumnDefinition[],
    readonly key: readonly KeyColumn[],
    readonly createdAt: Nanos,
  ) {}

  /** The position of the column, or -1. */
  columnIndex(name: string): number {
    return findColumn(this.columns, name);
  }

  keyOf(row: Row): string {
    return rowKey(row, this.key);
  }

  write(key: string, at: Nanos, row: Row | undefined): void {
    if (this.indexes.length > 0) {
      const before = this.rows.get(key);
      for (const index of this.indexes) index.write(key, at, before, row);
    }
    this.rows.put(key, at, row);
  }

  collect(horizon: Nanos): void {
    this.rows.collect(horizon);
    for (const index of this.indexes) index.entries.collect(horizon);
  }
}

/** A secondary index: entries by indexed columns and then primary key, each naming a row of the table. */
export class Index {
  readonly entries = new VersionedMap<string>();
  readonly locks = new LockSpace();

  /**
   * @param declared the number of columns of `key` in the DDL; the others are from the primary key
   * @param storing positions of the stored columns besides the key
   */
  constructor(
    readonly name: string,
    readonly table: Table,
    readonly key: readonly KeyColumn[],
    readonly declared: number,
    readonly storing: readonly number[],
  ) {
    // The whole history of the rows, so that a stale read through the index is correct.
    for (const [rowName, versions] of table.rows.history()) {
      let before: Row | undefined;
      for (const { at, value } of versions) {
        this.write(rowName, at, before, value);
        before = value;
      }
    }
  }

  entryOf(row: Row): string {
    return rowKey(row, this.key);
  }

  /** The columns that a read of this index alone can return. */
  covers(column: number): boolean {
    return this.storing.includes(column) || this.key.some((part) => part.column === column);
  }

  write(rowName: string, at: Nanos, before: Row | undefined, after: Row | undefined): void {
    const old = before && this.entryOf(before);
    const fresh = after && this.entryOf(after);
    if (old === fresh) return;
    if (old !== undefined) this.entries.put(old, at, undefined);
    if (fresh !== undefined) this.entries.put(fresh, at, rowName);
  }
}
