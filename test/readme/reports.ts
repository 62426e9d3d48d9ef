/** The work that the examples in docs/semaphores.md do with a permit; not shown there. */
export async function writeReport(permit: { signal: AbortSignal; fencingToken: bigint }): Promise<bigint> {
  permit.signal.throwIfAborted();
  return permit.fencingToken;
}
