import type { Schema } from '../storage/schema.js';
import type { KeyColumn } from '../storage/key-encoding.js';
import type { Index, Table } from '../storage/table.js';
import { spannerType } from './information-schema.js';

/** The statements that create this schema, tables before their indexes. */
export const printDdl = (schema: Schema): string[] =>
  schema.allTables().flatMap((table) => [printTable(table), ...table.indexes.map(printIndex)]);

const keyParts = (table: Table, key: readonly KeyColumn[]): string =>
  key.map(({ column, descending }) => `${table.columns[column]!.name}${descending ? ' DESC' : ''}`).join(', ');

const printTable = (table: Table): string => {
  const columns = table.columns.map((column) => {
    const { name, notNull, allowCommitTimestamp } = column;
    const options =
      allowCommitTimestamp === undefined ? '' : ` OPTIONS (allow_commit_timestamp = ${allowCommitTimestamp})`;
    return `  ${name} ${spannerType(column)}${notNull ? ' NOT NULL' : ''}${options},\n`;
  });
  return `CREATE TABLE ${table.name} (\n${columns.join('')}) PRIMARY KEY(${keyParts(table, table.key)})`;
};

const printIndex = ({ name, table, key, declared, storing }: Index): string => {
  const stored = storing.map((column) => table.columns[column]!.name).join(', ');
  const suffix = stored === '' ? '' : ` STORING (${stored})`;
  return `CREATE INDEX ${name} ON ${table.name}(${keyParts(table, key.slice(0, declared))})${suffix}`;
};
