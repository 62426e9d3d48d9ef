/** In place of an argument after the last one: which of those before are `undefined`. */
const UNDEFINED = '__hedge/undefined';

/**
 * Arguments as a forwarded call sends them, in an array that a serializer may not know `undefined` in: those at the end
 * are left away, so that default parameters apply, and others are null, with a list of them at the end.
 */
export function sentArguments(args: readonly unknown[]): readonly unknown[] {
  const given = args.map((argument) => argument !== undefined);
  const sent = args.slice(0, 1 + given.lastIndexOf(true));
  const missing = sent.flatMap((argument, index) => (argument === undefined ? [index] : []));
  if (missing.length === 0) return sent;
  return [...sent.map((argument) => (argument === undefined ? null : argument)), { [UNDEFINED]: missing }];
}

/** The arguments that were sent; also of a pod of the version before, which has no list. */
export function receivedArguments(sent: unknown): unknown {
  if (!Array.isArray(sent)) return sent;
  const missing: unknown = (sent.at(-1) as { [UNDEFINED]?: unknown } | null | undefined)?.[UNDEFINED];
  if (!Array.isArray(missing)) return sent;
  return sent.slice(0, -1).map((argument: unknown, index) => (missing.includes(index) ? undefined : argument));
}
