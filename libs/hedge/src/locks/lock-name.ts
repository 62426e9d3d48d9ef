import { assertNotReserved } from '../database/row-names.js';
import { assertLength, assertText } from '../database/text.js';
import { HedgeError } from '../common/errors.js';

/**
 * Longest name of a lock in UTF-8 bytes. With the group it is the key of a row, for which Spanner allows 8 KB.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
const MAX_LOCK_NAME_BYTES = 4_000;

/** @throws HedgeError INVALID_ARGUMENT */
export function assertLockName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '') {
    const got = name === '' ? 'empty' : `of type ${typeof name}`;
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The name of a lock must be a string of at least one character, and this one is ${got}.`,
    );
  }
  assertNotReserved('lock name', name);
  assertText('name of the lock', name);
  assertLength('lock name', name, MAX_LOCK_NAME_BYTES);
}
