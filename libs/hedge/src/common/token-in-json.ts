/**
 * Lets `JSON.stringify` show an object with tokens: each bigint as digits, which JSON has no number for, and without
 * the abort signal.
 */
export function withTokenInJson<Given extends object>(given: Given): Given {
  // Neither compared nor copied with the object.
  return Object.defineProperty(given, 'toJSON', { value: shownInJson });
}

function shownInJson(this: object): object {
  const shown = Object.entries(this).filter(([key]) => key !== 'signal');
  return Object.fromEntries(shown.map(([key, value]) => [key, typeof value === 'bigint' ? value.toString() : value]));
}
