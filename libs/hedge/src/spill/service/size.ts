import { HedgeError } from '../../common/errors.js';

/** Bytes: a number, or a text such as '512MB' (1 KB is 1,024 bytes here, as it is for memory). */
export type Size = number | string;

const UNITS: Readonly<Record<string, number>> = { B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };
const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i;

/** The bytes of a size; undefined when it is none. */
export function bytesOf(size: unknown): number | undefined {
  if (typeof size === 'number') return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  const parts = typeof size === 'string' ? SIZE.exec(size.trim()) : null;
  if (parts === null) return undefined;
  const bytes = Math.floor(Number(parts[1]) * (UNITS[`${parts[2]?.toUpperCase()}B`] as number));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** @throws HedgeError INVALID_ARGUMENT */
export function checkedBytes(what: string, size: Size): number {
  const bytes = bytesOf(size);
  if (bytes !== undefined) return bytes;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `${what} of spilled data is ${typeof size === 'string' ? JSON.stringify(size) : String(size)}; give whole bytes, or a text such as '512MB'.`,
  );
}
