/** Long enough for a lease of the `local` preset to run out and be taken over on a busy machine. */
export const TAKE_OVER_MS = 15_000;
/** Long enough for three Node processes to start on a busy machine. */
export const START_MS = 60_000;

/** How long it took since a time of `performance.now()`, for people. */
export function since(start: number): string {
  return milliseconds(performance.now() - start);
}

export function milliseconds(ms: number): string {
  return `${Math.round(ms)} ms`;
}
