import type { Clock } from '../common/clock.js';

/** How often within the time allowed it is looked whether anything moved: so much later than due it may be noticed. */
const LOOKS = 4;

/**
 * Watches something that should move.
 *
 * @param progress any value that changes when it moves.
 * @param idle called once, when it has not for `idleMs` to a quarter more.
 * @returns stops watching.
 */
export function watchIdle(clock: Clock, idleMs: number, progress: () => unknown, idle: () => void): () => void {
  let last = progress();
  let unchanged = 0;
  let cancel: (() => void) | undefined;
  const lookSoon = (): void => {
    cancel = clock.after(idleMs / LOOKS, () => {
      const now = progress();
      unchanged = now === last ? unchanged + 1 : 0;
      last = now;
      if (unchanged >= LOOKS) idle();
      else lookSoon();
    });
  };
  lookSoon();
  return () => cancel?.();
}
