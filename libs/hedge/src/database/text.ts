import { HedgeError } from '../common/errors.js';

/**
 * Rejects text that some database does not return unchanged: NUL characters (SQLite clients cut the text there) and lone
 * surrogates (UTF-8 cannot encode them). Drivers call it for every text that they store, so that all accept the same
 * strings.
 *
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertText(what: string, text: string): void {
  const found = text.includes('\0') ? 'a NUL character' : /\p{Surrogate}/u.test(text) ? 'a lone surrogate' : undefined;
  if (found === undefined) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The ${what} contains ${found}, which a database cannot store as text. Encode binary data first, for instance as base64.`,
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
 * Rejects a name that is too long for its column, in UTF-8 bytes.
 *
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertLength(what: string, text: string, maxBytes: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The ${what} "${text.slice(0, 40)}…" has ${bytes} bytes in UTF-8; at most ${maxBytes} are allowed. Hash long names.`,
  );
}

/**
 * The order of texts in every driver: by their UTF-8 bytes, which is by code point. JavaScript's `<` differs
 * from it above U+FFFF, because it compares UTF-16 units.
 */
export function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
