/** Long enough for a take-over after a lease of the `local` preset expired, on a busy machine. */
export const TAKE_OVER_MS = 15_000;
/** Long enough for three Node processes to start on a busy machine. */
export const START_MS = 60_000;

/** The time since an instant of `performance.now()`, as text. */
export function since(start: number): string {
  return milliseconds(performance.now() - start);
}

export function milliseconds(ms: number): string {
  return `${Math.round(ms)} ms`;
}
