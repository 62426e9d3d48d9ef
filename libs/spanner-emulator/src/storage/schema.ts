import { failedPrecondition, invalidArgument, notFound } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import type { ColumnDefinition, Ddl, KeyPart } from '../sql/ast.js';
import type { KeyColumn } from './key-encoding.js';
import { findColumn, Index, Table } from './table.js';

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
    const seen = new Set<string>();
    for (const column of columns) {
      if (seen.has(column.name.toLowerCase())) {
        throw failedPrecondition(`Duplicate column name ${name}.${column.name}.`);
      }
      seen.add(column.name.toLowerCase());
    }
    const key = keyColumns(name, columns, primaryKey, `Table ${name} references nonexistent key column`);
    this.tables.set(name.toLowerCase(), new Table(name, columns, key, now));
  }

  private createIndex({ name, ifNotExists, table: tableName, key, storing }: Create<'createIndex'>): void {
    if (this.isTaken(name, ifNotExists)) return;
    const table = this.table(tableName);
    if (!table) throw notFound(`Table not found: ${tableName}`);
    const missing = `Index ${name} specifies key column which does not exist in the index's base table:`;
    const declared = keyColumns(table.name, table.columns, key, missing);
    const rest = table.key.filter((part) => !declared.some(({ column }) => column === part.column));
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
      throw failedPrecondition(`${part.column} is used more than once in a key of ${table}.`);
    }
    return { column, type: columns[column]!.type, descending: part.descending };
  });
