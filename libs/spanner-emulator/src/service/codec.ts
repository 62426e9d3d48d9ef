import { invalidArgument, unimplemented } from '../common/status.js';
import { floorDiv, NANOS_PER_SECOND, type Nanos } from '../common/timestamps.js';
import type { Parameter, Parameters } from '../sql/scope.js';
import type { Column, Row, ScalarType, SqlType } from '../sql/types.js';
import { encodeScalar, type JsonValue } from '../sql/value-codec.js';
import type { KeySet, KeySetRange } from '../query/key-set.js';
import type { Mutation } from '../query/mutations.js';
import type { google } from './protos.js';

type ProtoValue = google.protobuf.IValue;
type ProtoList = google.protobuf.IListValue;

/** google.spanner.v1.TypeCode */
const TYPE_CODES: Readonly<Record<ScalarType, number>> = {
  BOOL: 1,
  INT64: 2,
  FLOAT64: 3,
  TIMESTAMP: 4,
  STRING: 6,
  BYTES: 7,
};
const ARRAY_CODE = 8;

const fromProtoValue = (value: ProtoValue): JsonValue => {
  // Decoded messages own only the field that is set.
  if (Object.hasOwn(value, 'stringValue')) return value.stringValue!;
  if (Object.hasOwn(value, 'numberValue')) return value.numberValue!;
  if (Object.hasOwn(value, 'boolValue')) return value.boolValue!;
  if (Object.hasOwn(value, 'listValue')) return fromProtoList(value.listValue);
  if (Object.hasOwn(value, 'structValue')) throw unimplemented('STRUCT values');
  return null;
};

const fromProtoList = (list: ProtoList | null | undefined): JsonValue[] => (list?.values ?? []).map(fromProtoValue);

/** A google.protobuf.Value to send. */
export type ProtoScalar =
  | { readonly nullValue: 0 }
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly numberValue: number };

/** One row's values as protobuf values. */
export const toProtoValues = (row: Row, columns: readonly Column[]): ProtoScalar[] =>
  row.map((value, i): ProtoScalar => {
    if (value === null) return { nullValue: 0 };
    const json = encodeScalar(value, columns[i]!.type);
    if (typeof json === 'string') return { stringValue: json };
    return typeof json === 'boolean' ? { boolValue: json } : { numberValue: json as number };
  });

export const toRowType = (columns: readonly Column[]): google.spanner.v1.IStructType => ({
  fields: columns.map(({ name, type }) => ({ name, type: { code: TYPE_CODES[type] } })),
});

const fromProtoType = ({ code: typeCode, arrayElementType }: google.spanner.v1.IType): SqlType | undefined => {
  const code = Number(typeCode ?? 0);
  if (code === 0) return undefined;
  if (code === ARRAY_CODE) {
    const element = arrayElementType ? fromProtoType(arrayElementType) : undefined;
    if (typeof element !== 'string') throw unimplemented('an ARRAY parameter without a scalar element type');
    return { arrayOf: element };
  }
  const type = (Object.keys(TYPE_CODES) as ScalarType[]).find((name) => TYPE_CODES[name] === code);
  if (!type) throw unimplemented(`the parameter type with code ${code}`);
  return type;
};

interface StatementRequest {
  readonly params?: google.protobuf.IStruct | null;
  readonly paramTypes?: { [key: string]: google.spanner.v1.IType } | null;
}

/** The parameters of a statement by their names in lower case. */
export const fromProtoParameters = ({ params, paramTypes }: StatementRequest): Parameters => {
  const parameters = new Map<string, Parameter>();
  for (const [name, value] of Object.entries(params?.fields ?? {})) {
    const type = paramTypes?.[name] && fromProtoType(paramTypes[name]);
    parameters.set(name.toLowerCase(), { type, value: fromProtoValue(value) });
  }
  return parameters;
};

/** 10000-01-01T00:00:00Z */
const MAX_READ_TIMESTAMP = 253_402_300_800n * NANOS_PER_SECOND;

interface SecondsAndNanos {
  readonly seconds?: number | string | { toString(): string } | null;
  readonly nanos?: number | null;
}

/** A google.protobuf.Timestamp or Duration in nanoseconds. */
export const fromProtoTime = ({ seconds, nanos }: SecondsAndNanos): Nanos => {
  const fraction = nanos ?? 0;
  if (Math.abs(fraction) >= 1e9) throw invalidArgument(`Invalid time: nanos=${fraction}`);
  return BigInt((seconds ?? 0).toString()) * NANOS_PER_SECOND + BigInt(fraction);
};

/** The google.protobuf.Timestamp of a read. Spanner accepts years from 1970 to 9999. */
export const fromProtoReadTimestamp = (time: SecondsAndNanos, which: 'exact' | 'min'): Nanos => {
  const at = fromProtoTime(time);
  const valid = at >= 0n && (time.nanos ?? 0) >= 0 && at < MAX_READ_TIMESTAMP;
  if (!valid) throw invalidArgument(`Invalid ${which} read timestamp: ${at / NANOS_PER_SECOND} s since 1970`);
  return at;
};

export const toProtoTime = (time: Nanos): google.protobuf.ITimestamp => {
  const seconds = floorDiv(time, NANOS_PER_SECOND);
  return { seconds: Number(seconds), nanos: Number(time - seconds * NANOS_PER_SECOND) };
};

const fromProtoRange = (range: google.spanner.v1.IKeyRange): KeySetRange => {
  const start = range.startClosed ?? range.startOpen;
  const end = range.endClosed ?? range.endOpen;
  if (!start) throw invalidArgument('Key range must contain either start_closed or start_open.');
  if (!end) throw invalidArgument('Key range must contain either end_closed or end_open.');
  return {
    start: fromProtoList(start),
    startOpen: !range.startClosed,
    end: fromProtoList(end),
    endOpen: !range.endClosed,
  };
};

export const fromProtoKeySet = (set: google.spanner.v1.IKeySet | null | undefined): KeySet => ({
  all: set?.all ?? false,
  keys: (set?.keys ?? []).map(fromProtoList),
  ranges: (set?.ranges ?? []).map(fromProtoRange),
});

export const fromProtoMutation = (mutation: google.spanner.v1.IMutation): Mutation => {
  if (mutation.delete)
    return { kind: 'delete', table: mutation.delete.table ?? '', keySet: fromProtoKeySet(mutation.delete.keySet) };
  for (const kind of ['insert', 'update', 'insertOrUpdate', 'replace'] as const) {
    const write = mutation[kind];
    if (write)
      return {
        kind,
        table: write.table ?? '',
        columns: write.columns ?? [],
        rows: (write.values ?? []).map(fromProtoList),
      };
  }
  if (mutation.send ?? mutation.ack) throw unimplemented('queues');
  throw invalidArgument('Mutation does not specify an operation.');
};
