/**
 * Lets `JSON.stringify` show an object with tokens: it writes each bigint as text, because JSON has no number for it,
 * and omits the abort signal.
 */
export function withTokenInJson<Given extends object>(given: Given): Given {
  // Not enumerable: comparing or copying the object ignores it.
  return Object.defineProperty(given, 'toJSON', { value: shownInJson });
}

function shownInJson(this: object): object {
  const shown = Object.entries(this).filter(([key]) => key !== 'signal');
  return Object.fromEntries(shown.map(([key, value]) => [key, typeof value === 'bigint' ? value.toString() : value]));
}
