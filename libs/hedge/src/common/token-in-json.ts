/**
 * Lets `JSON.stringify` show what work is given, in logs say: the token as digits, which JSON has no number for, and
 * without the signal.
 */
export function withTokenInJson<Given extends { readonly fencingToken: bigint; readonly signal: AbortSignal }>(
  given: Given,
): Given {
  const toJSON = (): object => {
    const { signal: _, fencingToken, ...rest } = given;
    return { ...rest, fencingToken: fencingToken.toString() };
  };
  // Not seen by whoever compares or copies it.
  return Object.defineProperty(given, 'toJSON', { value: toJSON });
}
