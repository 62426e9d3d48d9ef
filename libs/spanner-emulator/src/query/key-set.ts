import { failedPrecondition, invalidArgument, notFound } from '../common/status.js';
import type { KeyRange } from '../common/sorted-map.js';
import type { Row } from '../sql/types.js';
import { decodeScalar, type JsonValue } from '../sql/value-codec.js';
import { normalizeRanges, type View } from '../storage/access.js';
import { after, encodeKey, FULL_RANGE, pointRange, prefixRange, type KeyColumn } from '../storage/key-encoding.js';
import type { Table } from '../storage/table.js';
import type { Rows } from './select.js';

export interface KeySetRange {
  readonly start: readonly JsonValue[];
  readonly startOpen: boolean;
  readonly end: readonly JsonValue[];
  readonly endOpen: boolean;
}

/** Spanner's KeySet: single keys, ranges of (prefixes of) keys, or all keys. */
export interface KeySet {
  readonly all: boolean;
  readonly keys: readonly (readonly JsonValue[])[];
  readonly ranges: readonly KeySetRange[];
}

/**
 * @param key the columns in order
 * @param declared the number of columns that a single key must name: all of a primary key, the declared ones of an index
 */
export const keySetRanges = (set: KeySet, key: readonly KeyColumn[], declared: number, name: string): KeyRange[] => {
  if (set.all) return [FULL_RANGE];
  const encode = (values: readonly JsonValue[], exact: boolean): string => {
    if (exact ? values.length !== declared : values.length > key.length) {
      throw failedPrecondition(
        `Wrong number of key parts for ${name}. Expected ${declared} key parts, found ${values.length} key parts. ` +
          `Supplied key: ${JSON.stringify(values)}`,
      );
    }
    return encodeKey(
      values.map((value, i) => decodeScalar(value, key[i]!.type)),
      key,
    );
  };
  const points = set.keys.map((values) => {
    const encoded = encode(values, true);
    return declared === key.length ? pointRange(encoded) : prefixRange(encoded);
  });
  const ranges = set.ranges.map((range) => {
    const start = encode(range.start, false);
    const end = encode(range.end, false);
    return { start: range.startOpen ? after(start) : start, end: range.endOpen ? end : after(end) };
  });
  return normalizeRanges([...points, ...ranges]);
};

export interface ReadRequest {
  readonly table: Table;
  /** Empty for the primary key. */
  readonly index: string;
  readonly columns: readonly string[];
  readonly keySet: KeySet;
  /** 0 for no limit. */
  readonly limit: number;
  readonly exclusive: boolean;
}

/** Read and StreamingRead: rows by key, in the order of the key. */
export const runRead = (
  { table, index: indexName, columns, keySet, limit, exclusive }: ReadRequest,
  view: View,
): Rows => {
  const index = table.indexes.find((candidate) => candidate.name.toLowerCase() === indexName.toLowerCase());
  if (indexName !== '' && !index) throw notFound(`Index not found on table ${table.name} : ${indexName}`);
  if (limit < 0) throw invalidArgument('Limit must be non-negative.');
  const positions = columns.map((name) => {
    const at = table.columnIndex(name);
    if (at < 0) throw notFound(`Column not found in table ${table.name}: ${name}`);
    if (index && !index.covers(at)) {
      throw notFound(
        `Reading non-indexed columns using an index is not supported. Consider adding ${name} to the index using a STORING clause.`,
      );
    }
    return at;
  });
  const key = index?.key ?? table.key;
  const ranges = keySetRanges(keySet, key, index?.declared ?? key.length, index?.name ?? table.name);
  const rows: Row[] = [];
  for (const row of view.rows({ table, index, ranges, columns: positions, exclusive })) {
    rows.push(positions.map((at) => row[at]!));
    if (limit > 0 && rows.length >= limit) break;
  }
  return { columns: positions.map((at) => table.columns[at]!), rows };
};
