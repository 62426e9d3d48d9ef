import { isReservedKey } from '../backend/names.js';
import { assertText } from '../backend/text.js';
import { HedgeError } from '../common/errors.js';

/**
 * Longest name of a lock in UTF-8 bytes. With the group it is the key of a row, for which Spanner allows 8 KB.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
export const MAX_LOCK_NAME_BYTES = 4_000;

/** @throws HedgeError INVALID_ARGUMENT */
export function assertLockName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '') {
    const got = name === '' ? 'empty' : `of type ${typeof name}`;
    throw invalid(`The name of a lock must be a string of at least one character, and this one is ${got}.`);
  }
  if (isReservedKey(name)) {
    throw invalid(
      `The lock name "${name.slice(0, 40)}" is reserved: what begins with __hedge/ or __caller= is this library's own. Use another name.`,
    );
  }
  assertText('name of the lock', name);
  const bytes = Buffer.byteLength(name);
  if (bytes <= MAX_LOCK_NAME_BYTES) return;
  throw invalid(
    `The lock name "${name.slice(0, 40)}…" has ${bytes} bytes in UTF-8; at most ${MAX_LOCK_NAME_BYTES} are allowed. Hash long names.`,
  );
}

function invalid(message: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', message);
}
