import { failedPrecondition, invalidArgument, notFound } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { ColumnDefinition, Ddl, KeyPart } from '../sql/ast.js';
import { FULL_RANGE, type KeyColumn } from './key-encoding.js';
import { checkIndexKey } from './row-checks.js';
import { findColumn, Index, Table } from './table.js';

/** https://cloud.google.com/spanner/quotas#schema-limits */
const MAX_TABLES = 5_000;
const MAX_COLUMNS = 1_024;
const MAX_KEY_COLUMNS = 16;
const MAX_INDEXES = 10_000;
const MAX_INDEXES_OF_TABLE = 128;
const MAX_NAME_LENGTH = 128;

type Create<K extends Ddl['kind']> = Extract<Ddl, { kind: K }>;

/** The tables and indexes of one database. Their names share one space and are case-insensitive. */
export class Schema {
  private readonly tables = new Map<string, Table>();
  private readonly indexes = new Map<string, Index>();

  table(name: string): Table | undefined {
    return this.tables.get(name.toLowerCase());
  }

  index(name: string): Index | undefined {
    return this.indexes.get(name.toLowerCase());
  }

  allTables(): Table[] {
    return [...this.tables.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  apply(ddl: Ddl, now: Nanos): void {
    switch (ddl.kind) {
      case 'createTable':
        return this.createTable(ddl, now);
      case 'createIndex':
        return this.createIndex(ddl);
      case 'dropTable':
        return this.dropTable(ddl.name, ddl.ifExists);
      case 'dropIndex':
        return this.dropIndex(ddl.name, ddl.ifExists);
      case 'createDatabase':
        throw invalidArgument('CREATE DATABASE is not a schema change');
    }
  }

  private isTaken(name: string, allowed: boolean): boolean {
    const taken = this.table(name) ?? this.index(name);
    if (taken && !allowed) throw failedPrecondition(`Duplicate name in schema: ${name}.`);
    return taken !== undefined;
  }

  private createTable({ name, ifNotExists, columns, primaryKey }: Create<'createTable'>, now: Nanos): void {
    if (this.isTaken(name, ifNotExists)) return;
    checkIdentifier('Table', name);
    const seen = new Set<string>();
    for (const column of columns) {
      checkIdentifier('Column', column.name);
      if (seen.has(column.name.toLowerCase())) {
        throw failedPrecondition(`Duplicate column name ${name}.${column.name}.`);
      }
      seen.add(column.name.toLowerCase());
    }
    if (columns.length > MAX_COLUMNS) {
      throw failedPrecondition(`Table ${name} has too many columns; the limit is ${MAX_COLUMNS}.`);
    }
    if (this.tables.size >= MAX_TABLES) {
      throw failedPrecondition(`Cannot add Table ${name} : too many tables (limit ${MAX_TABLES} per database).`);
    }
    const key = keyColumns(name, columns, primaryKey, `Table ${name} references nonexistent key column`);
    checkKeyColumns('Table', name, key.length);
    this.tables.set(name.toLowerCase(), new Table(name, columns, key, now));
  }

  private createIndex({ name, ifNotExists, table: tableName, key, storing }: Create<'createIndex'>): void {
    if (this.isTaken(name, ifNotExists)) return;
    checkIdentifier('Index', name);
    if (name.toUpperCase() === 'PRIMARY_KEY') {
      throw invalidArgument('Cannot use reserved name PRIMARY_KEY for a secondary index');
    }
    const table = this.table(tableName);
    if (!table) throw notFound(`Table not found: ${tableName}`);
    if (key.length === 0) throw invalidArgument(`Index ${name} does not specify any key columns.`);
    if (table.indexes.length >= MAX_INDEXES_OF_TABLE) {
      throw failedPrecondition(
        `Cannot add index ${name} to table ${table.name}: too many indices (limit ${MAX_INDEXES_OF_TABLE} per table).`,
      );
    }
    if (this.indexes.size >= MAX_INDEXES) {
      throw failedPrecondition(`Cannot add Index ${name} : too many indexes (limit ${MAX_INDEXES} per database).`);
    }
    const missing = `Index ${name} specifies key column which does not exist in the index's base table:`;
    const declared = keyColumns(table.name, table.columns, key, missing);
    const rest = table.key.filter((part) => !declared.some(({ column }) => column === part.column));
    checkKeyColumns('Index', name, declared.length + rest.length);
    const stored = storing.map((column) => {
      const at = table.columnIndex(column);
      if (at < 0)
        throw notFound(
          `Index ${name} specifies stored column ${column} which does not exist in the index's base table ${table.name}.`,
        );
      if ([...declared, ...rest].some((part) => part.column === at)) {
        throw failedPrecondition(`Index ${name} specifies stored column ${column} which is a key of ${table.name}.`);
      }
      return at;
    });
    const index = new Index(name, table, [...declared, ...rest], declared.length, stored);
    for (const [, row] of table.rows.scan(FULL_RANGE)) checkIndexKey(index, row);
    this.indexes.set(name.toLowerCase(), index);
    table.indexes.push(index);
  }

  private dropTable(name: string, ifExists: boolean): void {
    const table = this.table(name);
    if (!table && ifExists) return;
    if (!table) throw notFound(`Table not found: ${name}`);
    if (table.indexes.length > 0) {
      const names = table.indexes.map((index) => index.name).join(',');
      throw failedPrecondition(`Cannot drop table ${table.name} with indices: ${names}.`);
    }
    this.tables.delete(name.toLowerCase());
  }

  private dropIndex(name: string, ifExists: boolean): void {
    const index = this.index(name);
    if (!index && ifExists) return;
    if (!index) throw notFound(`Index not found: ${name}`);
    index.table.indexes.splice(index.table.indexes.indexOf(index), 1);
    this.indexes.delete(name.toLowerCase());
  }
}

const checkIdentifier = (kind: 'Table' | 'Column' | 'Index', name: string): void => {
  if (name.length > MAX_NAME_LENGTH || !/^[A-Za-z]\w*$/.test(name))
    throw invalidArgument(`${kind} name not valid: ${name}.`);
};

/** The columns of an index, with the columns of the primary key at the end of its entries. */
const checkKeyColumns = (kind: 'Table' | 'Index', name: string, count: number): void => {
  if (count > MAX_KEY_COLUMNS) {
    throw invalidArgument(`${kind} ${name} has too many keys (${count}); the limit is ${MAX_KEY_COLUMNS}.`);
  }
};

const keyColumns = (
  table: string,
  columns: readonly ColumnDefinition[],
  parts: readonly KeyPart[],
  missing: string,
): KeyColumn[] =>
  parts.map((part, i) => {
    const column = findColumn(columns, part.column);
    if (column < 0) throw invalidArgument(`${missing} ${part.column}.`);
    if (parts.slice(0, i).some((other) => findColumn(columns, other.column) === column)) {
      throw invalidArgument(`${part.column} is used more than once in a key of ${table}.`);
    }
    return { column, type: columns[column]!.type, descending: part.descending };
  });
