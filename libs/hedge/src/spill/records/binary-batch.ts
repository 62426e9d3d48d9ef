import { HedgeError } from '../../common/errors.js';

/** Records in one buffer: record i is data[offsets[i], offsets[i + 1]). */
export interface BinaryBatch {
  /** `count` + 1 offsets in ascending order. */
  readonly offsets: Int32Array;
  readonly data: Uint8Array;
  readonly count: number;
}

/** The used part of an Arrow `Vector`. It may come from another copy of apache-arrow. */
export interface BinaryVector {
  readonly type: { readonly typeId: number; toString(): string };
  readonly nullCount: number;
  readonly data: readonly unknown[];
}

/** A chunk of a vector of type Binary or Utf8. */
interface BinaryChunk {
  readonly length: number;
  readonly valueOffsets: Int32Array;
  readonly values: Uint8Array;
}

/**
 * Arrow's type ids of these types.
 * @see https://github.com/apache/arrow-js/blob/main/src/enum.ts
 */
const BINARY = 4;
const UTF8 = 5;

export function isVector(value: unknown): value is BinaryVector {
  return typeof value === 'object' && value !== null && 'type' in value && 'nullCount' in value && 'data' in value;
}

/**
 * The chunks of an Arrow vector, without copying.
 * @throws HedgeError INVALID_ARGUMENT when it is neither Binary nor Utf8, or holds nulls
 */
export function batchesOf(vector: BinaryVector): BinaryBatch[] {
  const { typeId } = vector.type;
  if (typeId !== BINARY && typeId !== UTF8) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `A batch must be an Arrow vector of type Binary or Utf8, not of type ${vector.type.toString()}. Cast it first.`,
    );
  }
  if (vector.nullCount > 0) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `A batch must not contain nulls, but this one contains ${vector.nullCount}. Filter them out, or write empty records.`,
    );
  }
  return (vector.data as readonly BinaryChunk[]).map(({ length, valueOffsets, values }) => ({
    offsets: valueOffsets.subarray(0, length + 1),
    data: values,
    count: length,
  }));
}
