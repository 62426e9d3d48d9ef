/** What the README's snippets do with a permit; not shown there. */
export async function writeReport(permit: { signal: AbortSignal; fencingToken: bigint }): Promise<bigint> {
  permit.signal.throwIfAborted();
  return permit.fencingToken;
}
