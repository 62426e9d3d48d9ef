import { Code, ConstraintError } from '../common/status.js';
import { formatTimestamp, type Nanos } from '../common/timestamps.js';
import { PENDING, type Row, type ScalarType, type Value } from '../sql/types.js';
import { encodeScalar } from '../sql/value-codec.js';
import type { KeyColumn } from './key-encoding.js';
import type { Index, Table } from './table.js';

const failedPrecondition = (message: string) => new ConstraintError(Code.FAILED_PRECONDITION, message);
const invalidArgument = (message: string) => new ConstraintError(Code.INVALID_ARGUMENT, message);

/** https://cloud.google.com/spanner/quotas#tables */
const MAX_STRING_LENGTH = 2_621_440;
const MAX_BYTES_LENGTH = 10_485_760;
const MAX_KEY_BYTES = 8_192;

/** The number of code points: the unit of the length of a STRING column. */
const stringLength = (text: string): number => {
  let length = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff) length--;
  }
  return length;
};

const checkSize = (name: string, value: Value, limit: number | undefined): void => {
  let size: number;
  let most: number;
  if (typeof value === 'string') {
    most = limit ?? MAX_STRING_LENGTH;
    // A string has at most as many code points as units, and its units need no counting.
    size = value.length <= most ? value.length : stringLength(value);
  } else if (value instanceof Uint8Array) {
    most = limit ?? MAX_BYTES_LENGTH;
    size = value.length;
  } else return;
  if (size > most) {
    throw failedPrecondition(
      `New value exceeds the maximum size limit for this column: ${name}, size: ${size}, limit: ${most}.`,
    );
  }
};

/** The key of an index entry, with the primary key at its end. */
export const checkIndexKey = (index: Index, row: Row): void => {
  const { length } = index.entryOf(row);
  if (length <= MAX_KEY_BYTES) return;
  throw invalidArgument(
    `Number of bytes for key of index ${index.name} is ${length} which exceeds the maximum of ${MAX_KEY_BYTES}.`,
  );
};

/** Checks that a write names every NOT NULL column, or every required one of them. */
export const checkNotNullColumns = (
  { name: table, columns }: Table,
  targets: readonly number[],
  required: readonly number[] = [...columns.keys()],
): void => {
  const missing = required.find((column) => columns[column]!.notNull && !targets.includes(column));
  if (missing === undefined) return;
  throw failedPrecondition(
    `A new row in table ${table} does not specify a non-null value for NOT NULL column: ${columns[missing]!.name}`,
  );
};

/** Checks NOT NULL, lengths, and commit timestamps of a row before it is written. */
export const checkRow = (table: Table, key: string, row: Row, now: Nanos): void => {
  for (const [i, column] of table.columns.entries()) {
    const value = row[i]!;
    if (value === null) {
      if (column.notNull) {
        throw failedPrecondition(`${column.name} must not be NULL in table ${table.name}.`);
      }
    } else if (value === PENDING) {
      if (!column.allowCommitTimestamp) {
        throw failedPrecondition(
          'Cannot write commit timestamp because the allow_commit_timestamp column option is not set to true for ' +
            `column ${table.name}.${column.name}.`,
        );
      }
    } else if (column.allowCommitTimestamp && (value as Nanos) > now) {
      throw failedPrecondition(`Cannot write timestamps in the future, found: ${formatTimestamp(value as Nanos)}`);
    } else checkSize(`${table.name}.${column.name}`, value, column.length);
  }
  for (const index of table.indexes) checkIndexKey(index, row);
  if (key.length > MAX_KEY_BYTES) {
    throw invalidArgument(
      `Number of bytes for key of table ${table.name} is ${key.length} which exceeds the maximum of ${MAX_KEY_BYTES}.`,
    );
  }
};

const show = (value: Value, type: ScalarType): string => {
  if (value === null) return 'NULL';
  if (value === PENDING) return 'COMMIT_TIMESTAMP';
  const text = encodeScalar(value, type) as string | number | boolean;
  return type === 'STRING' || type === 'BYTES' ? `"${text}"` : String(text);
};

/** A row's primary key as Spanner's messages show it: `{Int64(1), String("a")}`. */
export const describeKey = (row: Row, columns: readonly KeyColumn[]): string => {
  const parts = columns.map(({ column, type }) => {
    const name = type.charAt(0) + type.slice(1).toLowerCase();
    return `${name}(${show(row[column]!, type)})`;
  });
  return `{${parts.join(', ')}}`;
};

export const rowExists = ({ name, key }: Table, row: Row): ConstraintError =>
  new ConstraintError(Code.ALREADY_EXISTS, `Table ${name}: Row ${describeKey(row, key)} already exists.`);
