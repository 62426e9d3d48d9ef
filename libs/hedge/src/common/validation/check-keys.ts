import { HedgeError } from '../errors.js';
import { unknownOption } from './unknown-option.js';

/**
 * Checks that `options` is an object without other keys: a misspelt key would have no effect, silently.
 * @param what for the error's message
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkKeys(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    const got = options === null ? 'null' : Array.isArray(options) ? 'an array' : `of type ${typeof options}`;
    throw new HedgeError('INVALID_ARGUMENT', `${what} must be an object with ${known.join(', ')}, not ${got}.`);
  }
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new HedgeError('INVALID_ARGUMENT', `${what}: ${unknownOption('', unknown, known)}`);
}
