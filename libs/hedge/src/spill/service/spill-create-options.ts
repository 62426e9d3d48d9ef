import { MAX_TIMER_MS } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { checkKeys } from '../../common/validation/check-keys.js';
import { inWords } from '../../messaging/call-options.js';
import type { TierBytes } from '../node/storage.js';

const MAX_NAME_LENGTH = 256;
const KNOWN_OPTIONS = [
  'memoryLimit',
  'diskLimit',
  'ttlMs',
  'copies',
  'compression',
] satisfies (keyof SpillCreateOptions)[];

export interface SpillCreateOptions {
  /** Most RAM that this data uses on each pod, in bytes or as '512MB'. Default: the RAM that the pod offers. */
  readonly memoryLimit?: Size;
  /** Most disk that this data uses on each pod. Default: the disk that the pod offers. */
  readonly diskLimit?: Size;
  /** Milliseconds after which the data is dropped. Default: none; it is dropped when this pod stops. */
  readonly ttlMs?: number;
  /** The number of pods that hold each record. With 2, a read survives the loss of one pod. Default: 1. */
  readonly copies?: 1 | 2;
  /** `lz4` needs the package `lz4-napi`. Default: `none`. */
  readonly compression?: 'none' | 'lz4';
}

/** Bytes: a number, or a text such as '512MB' (1 KB is 1,024 bytes). */
export type Size = number | string;

const UNITS: Readonly<Record<string, number>> = { B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };
const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i;

/** The bytes of a size; undefined when it is not valid. */
export function bytesOf(size: unknown): number | undefined {
  if (typeof size === 'number') return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  const parts = typeof size === 'string' ? SIZE.exec(size.trim()) : null;
  if (parts === null) return undefined;
  const bytes = Math.floor(Number(parts[1]) * (UNITS[`${parts[2]?.toUpperCase()}B`] as number));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** @throws HedgeError INVALID_ARGUMENT */
function checkedBytes(what: string, size: Size): number {
  const bytes = bytesOf(size);
  if (bytes !== undefined) return bytes;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `${what} of spilled data is ${typeof size === 'string' ? JSON.stringify(size) : String(size)}. Give whole bytes, or a text such as '512MB'.`,
  );
}

/** @throws HedgeError INVALID_ARGUMENT */
export function checkName(name: unknown): void {
  if (typeof name === 'string' && name !== '' && name.length <= MAX_NAME_LENGTH && name.isWellFormed()) return;
  const got = typeof name === 'string' ? describeName(name) : `a value of type ${typeof name}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The name of spilled data must be a string of 1 to ${MAX_NAME_LENGTH} characters, but this is ${got}. Use another name.`,
  );
}

function describeName(name: string): string {
  return name.isWellFormed() ? `a string of ${name.length} characters` : 'a string with a lone surrogate';
}

/** @throws HedgeError INVALID_ARGUMENT */
export function limitsOf(name: string, { memoryLimit, diskLimit }: SpillCreateOptions): TierBytes {
  const limits = {
    memory: memoryLimit === undefined ? Number.MAX_SAFE_INTEGER : checkedBytes('memoryLimit', memoryLimit),
    disk: diskLimit === undefined ? Number.MAX_SAFE_INTEGER : checkedBytes('diskLimit', diskLimit),
  };
  if (limits.memory > 0 || limits.disk > 0) return limits;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `Spilled data '${name}' can hold no records, because memoryLimit and diskLimit are both 0. Raise one of them, or omit both.`,
  );
}

/** @throws HedgeError INVALID_ARGUMENT */
export function checkOptions(options: SpillCreateOptions): void {
  checkKeys('The options of spilled data', options, KNOWN_OPTIONS);
  const { copies, ttlMs, compression } = options;
  const problem =
    copies !== undefined && copies !== 1 && copies !== 2
      ? `copies is ${inWords(copies)}; give 1 or 2`
      : ttlMs !== undefined && !(Number.isInteger(ttlMs) && ttlMs >= 1 && ttlMs <= MAX_TIMER_MS)
        ? `ttlMs is ${inWords(ttlMs)}; give whole milliseconds from 1 to ${MAX_TIMER_MS}`
        : compression !== undefined && compression !== 'none' && compression !== 'lz4'
          ? `compression is ${inWords(compression)}; give 'none' or 'lz4'`
          : undefined;
  if (problem !== undefined) throw new HedgeError('INVALID_ARGUMENT', `Spilled data was not created: ${problem}.`);
}
