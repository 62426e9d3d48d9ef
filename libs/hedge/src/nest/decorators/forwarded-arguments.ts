/** The key of a list after the last argument: the indexes of the arguments that are `undefined`. */
const UNDEFINED = '__hedge/undefined';

/**
 * The arguments of a forwarded call, for serializers without `undefined`. Those at the end are omitted, so that default
 * parameters apply. Others become null, and a list of their indexes follows the last argument.
 */
export function sentArguments(args: readonly unknown[]): readonly unknown[] {
  const given = args.map((argument) => argument !== undefined);
  const sent = args.slice(0, 1 + given.lastIndexOf(true));
  const missing = sent.flatMap((argument, index) => (argument === undefined ? [index] : []));
  if (missing.length === 0) return sent;
  return [...sent.map((argument) => (argument === undefined ? null : argument)), { [UNDEFINED]: missing }];
}

/** The arguments of `sentArguments`. Pods of version 0.1 send no list. */
export function receivedArguments(sent: unknown): unknown {
  if (!Array.isArray(sent)) return sent;
  const missing: unknown = (sent.at(-1) as { [UNDEFINED]?: unknown } | null | undefined)?.[UNDEFINED];
  if (!Array.isArray(missing)) return sent;
  return sent.slice(0, -1).map((argument: unknown, index) => (missing.includes(index) ? undefined : argument));
}
