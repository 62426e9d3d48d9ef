import { HedgeError } from '../common/errors.js';

/**
 * Refuses what not every database gives back as it was: NUL characters (SQLite clients cut the text there)
 * and lone surrogates (UTF-8 has no bytes for them). Called by drivers on every text that goes into the database,
 * so that the same strings are fine on all of them.
 *
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertText(what: string, text: string): void {
  const found = text.includes('\0') ? 'a NUL character' : /\p{Surrogate}/u.test(text) ? 'a lone surrogate' : undefined;
  if (found === undefined) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The ${what} contains ${found}, which a database text cannot hold. Encode binary data first, for instance as base64.`,
  );
}

/**
 * `assertText` of each column of a row, by its name.
 *
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertTexts<Row extends Readonly<Record<keyof Row, string>>>(row: Row): void {
  for (const [column, text] of Object.entries<string>(row)) assertText(column, text);
}

/**
 * The order of texts in every driver: by their UTF-8 bytes, which is by code point. JavaScript's `<` differs
 * from it above U+FFFF, because it compares UTF-16 units.
 */
export function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
