/**
 * The pause before try number `attempt` (from 1). It doubles from `baseMs` up to `maxMs`; a random share between half
 * and all of it is used, so that pods that failed together do not retry together.
 *
 * @param random a number in [0, 1). The caller passes it, so that cores stay pure.
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("equal jitter")
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, random: number): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30));
  return ceiling / 2 + (ceiling / 2) * random;
}
