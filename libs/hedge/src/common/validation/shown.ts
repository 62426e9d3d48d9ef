/** Secrets have at least 16 characters, so a secret in the wrong option is never shown in full. */
const SHOWN_WHOLE = 15;
const SHOWN_OF_LONGER = 8;

/**
 * Formats a value from outside for a message. A string appears in quotes, on one line, and is cut when it is long: it
 * may be a secret in the wrong option.
 *
 * @example
 * shown('pod-a') // 'pod-a', in these quotes
 * shown('correct horse battery') // 'correct …' (21 characters)
 */
export function shown(value: unknown, quote = "'"): string {
  if (typeof value === 'string') return shownText(value, quote);
  if (value !== null && (typeof value === 'object' || typeof value === 'function')) {
    return `a value of type ${typeof value}`;
  }
  return String(value);
}

function shownText(text: string, quote: string): string {
  if (text.length <= SHOWN_WHOLE) return quote + escaped(text) + quote;
  return `${quote}${escaped(text.slice(0, SHOWN_OF_LONGER))}…${quote} (${text.length} characters)`;
}

/** Escapes characters that begin a new line or are invisible. */
function escaped(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}
