import type { Clock } from '../common/clock.js';

/** Checks within the idle time. The idle time can be exceeded by the time between two checks. */
const CHECKS = 4;

/**
 * Watches for progress.
 *
 * @param progress returns a value that changes with each progress.
 * @param idle called once, when there was no progress for `idleMs` to a quarter more.
 * @returns a function that stops watching.
 */
export function watchIdle(clock: Clock, idleMs: number, progress: () => unknown, idle: () => void): () => void {
  let last = progress();
  let unchanged = 0;
  let cancel: (() => void) | undefined;
  const checkLater = (): void => {
    cancel = clock.after(idleMs / CHECKS, () => {
      const now = progress();
      unchanged = now === last ? unchanged + 1 : 0;
      last = now;
      if (unchanged >= CHECKS) idle();
      else checkLater();
    });
  };
  checkLater();
  return () => cancel?.();
}
