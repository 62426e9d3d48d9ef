import type { Clock } from '../clock.js';

/** Runs a step and waits for at most `ms`. Never rejects: resolves with the problem, or with undefined. */
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
