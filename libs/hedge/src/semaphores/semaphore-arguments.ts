import { assertNotReserved } from '../database/row-names.js';
import { assertSemaphoreName } from '../database/checks.js';
import { HedgeError } from '../common/errors.js';

/** The largest limit of a semaphore, and so the most permits. */
const MAX_LIMIT = 1_000_000_000;

/** @throws HedgeError INVALID_ARGUMENT */
export function assertName(name: unknown): asserts name is string {
  if (typeof name !== 'string') throw invalid(`The name of a semaphore is ${shown(name)}. Give a string.`);
  assertNotReserved("semaphore's name", name);
  assertSemaphoreName(name);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertLimit(name: string, limit: unknown): asserts limit is number {
  if (isCount(limit)) return;
  throw invalid(
    `The limit of semaphore "${name}" is ${shown(limit)}. Give a whole number above 0 and at most ${MAX_LIMIT}.`,
  );
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertPermits(name: string, permits: unknown, limit: number): asserts permits is number {
  if (!isCount(permits)) {
    throw invalid(`The permits requested of semaphore "${name}" are ${shown(permits)}. Give a whole number above 0.`);
  }
  if (permits > limit) throw tooMany(name, permits, limit);
}

/** The error of a request for more permits than the limit. */
export function tooMany(name: string, permits: number, limit: number): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Semaphore "${name}" has limit ${limit}, but ${permits} permits were requested. Request at most ${limit}, or resize it.`,
    { details: { permits, limit } },
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= MAX_LIMIT;
}

function shown(value: unknown): string {
  return typeof value === 'number' ? String(value) : `a value of type ${typeof value}`;
}

function invalid(message: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', message);
}
