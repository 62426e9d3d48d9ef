import type { Clock } from '../clock.js';

/** Runs a step for at most that long. Never rejects: what went wrong comes back, or nothing. */
export function withTimeout(clock: Clock, ms: number, step: () => unknown): Promise<string | undefined> {
  return new Promise((resolve) => {
    const cancel = clock.after(ms, () => resolve(`it took longer than ${Math.round(ms)} ms`));
    void problemOf(step).then((problem) => {
      cancel();
      resolve(problem);
    });
  });
}

async function problemOf(step: () => unknown): Promise<string | undefined> {
  try {
    await step();
    return undefined;
  } catch (error) {
    return String(error);
  }
}
