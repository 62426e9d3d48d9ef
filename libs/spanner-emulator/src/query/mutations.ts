import { failedPrecondition, invalidArgument, notFound } from '../common/status.js';
import { formatTimestamp } from '../common/timestamps.js';
import type { Value } from '../sql/types.js';
import { decodeScalar, type JsonValue } from '../sql/value-codec.js';
import { isPoint } from '../storage/key-encoding.js';
import { checkNotNullColumns, describeKey, rowExists } from '../storage/row-checks.js';
import type { Schema } from '../storage/schema.js';
import type { Table } from '../storage/table.js';
import type { Work } from '../storage/work.js';
import { keySetRanges, type KeySet } from './key-set.js';

export type Mutation =
  | {
      readonly kind: 'insert' | 'update' | 'insertOrUpdate' | 'replace';
      readonly table: string;
      readonly columns: readonly string[];
      readonly rows: readonly (readonly JsonValue[])[];
    }
  | { readonly kind: 'delete'; readonly table: string; readonly keySet: KeySet };

type Write = Exclude<Mutation, { kind: 'delete' }>;

/** Applies the mutations in their order. Each sees the effects of the earlier ones. */
export const applyMutations = (mutations: readonly Mutation[], schema: Schema, work: Work): void => {
  for (const mutation of mutations) {
    if (mutation.table === '') throw invalidArgument('Mutation does not specify table.');
    const table = schema.table(mutation.table);
    if (!table) throw notFound(`Table not found: ${mutation.table}`);
    if (mutation.kind === 'delete') applyDelete(mutation.keySet, table, work);
    else applyWrite(mutation, table, work);
  }
};

const applyWrite = (mutation: Write, table: Table, work: Work): void => {
  const targets = mutation.columns.map((name) => {
    const at = table.columnIndex(name);
    if (at < 0) throw notFound(`Column not found in table ${table.name}: ${name}`);
    return at;
  });
  if (new Set(targets).size < targets.length) throw invalidArgument(`Multiple values for a column of ${table.name}.`);
  // An update does not change the other columns. Other mutations need them, also when the row exists already.
  const keyOnly = mutation.kind === 'update';
  checkNotNullColumns(table, targets, keyOnly ? table.key.map(({ column }) => column) : undefined);
  for (const values of mutation.rows) writeRow(mutation.kind, table, targets, values, work);
};

const writeRow = (
  kind: Write['kind'],
  table: Table,
  targets: readonly number[],
  values: readonly JsonValue[],
  work: Work,
): void => {
  if (values.length !== targets.length) {
    throw invalidArgument(
      `Mutation column and value size mismatch: Found: ${targets.length} columns and ${values.length} values.`,
    );
  }
  const fresh: Value[] = table.columns.map(() => null);
  for (const [i, target] of targets.entries()) fresh[target] = decodeScalar(values[i]!, table.columns[target]!.type);
  const key = table.keyOf(fresh);
  const old = kind === 'replace' ? undefined : work.current(table, key);
  if (kind === 'insert' && old) {
    work.lockRow(table, key);
    throw rowExists(table, fresh);
  }
  if (kind === 'update' && !old) {
    work.lockRow(table, key);
    throw notFound(`Table ${table.name}: Row ${describeKey(fresh, table.key)} not found.`);
  }
  const row = old ? old.map((value, i) => (targets.includes(i) ? fresh[i]! : value)) : fresh;
  // The key of a row that exists stays, so its readers do not conflict with the write of other columns.
  const written = targets.filter((target) => !table.key.some(({ column }) => column === target));
  work.put(table, key, row, old ? (written.length > 0 ? written : targets) : undefined);
};

const applyDelete = (keySet: KeySet, table: Table, work: Work): void => {
  refuseFutureKeys(keySet, table, work.now);
  for (const range of keySetRanges(keySet, table.key, table.key.length, table.name)) {
    if (isPoint(range)) work.remove(table, range.start);
    else for (const [key] of work.takeRange(table, range)) work.remove(table, key);
  }
};

/**
 * A column of commit timestamps never contains a future time, so Spanner rejects a deletion there as a mistake. Empty
 * ranges are accepted.
 */
const refuseFutureKeys = ({ keys, ranges }: KeySet, table: Table, now: bigint): void => {
  const filled = ranges.filter((range) => {
    const one = { all: false, keys: [], ranges: [range] };
    return keySetRanges(one, table.key, table.key.length, table.name).length > 0;
  });
  for (const key of [...keys, ...filled.flatMap(({ start, end }) => [start, end])]) {
    for (const [i, value] of key.entries()) {
      const part = table.key[i];
      if (!part || table.columns[part.column]!.allowCommitTimestamp !== true) continue;
      const time = decodeScalar(value, part.type);
      if (typeof time === 'bigint' && time > now) {
        throw failedPrecondition(`Cannot delete timestamps in the future, found: ${formatTimestamp(time)}`);
      }
    }
  }
};
