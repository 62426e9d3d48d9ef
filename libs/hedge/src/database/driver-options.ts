import { HedgeError } from '../common/errors.js';
import { unknownOption } from '../common/validation/unknown-option.js';

/** The error for an option of the driver `sqlite`, `postgres` or `spanner`. */
export function invalidOption(driver: string, message: string): HedgeError {
  return new HedgeError('INVALID_OPTIONS', `${driver}: ${message}`);
}

/**
 * Checks that the options of a driver are an object without unknown keys.
 * @param example a call with valid options
 * @throws HedgeError INVALID_OPTIONS
 */
export function checkDriverOptions(driver: string, options: unknown, known: readonly string[], example: string): void {
  if (typeof options !== 'object' || options === null) {
    throw invalidOption(driver, `the options are not an object. Give them as in ${example}.`);
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalidOption(driver, unknownOption('', unknown, known));
}

/**
 * Checks that the two tables differ, for a database that does not distinguish upper and lower case.
 * @throws HedgeError INVALID_OPTIONS
 */
export function checkTablesDiffer(driver: string, lockTable: string, logTable: string): void {
  if (lockTable.toLowerCase() !== logTable.toLowerCase()) return;
  throw invalidOption(driver, `lockTable and logTable are both "${logTable}". Give each its own name.`);
}
