import type { Pod } from './pod.js';

/** Prefix of every key and message of a load. Events with it are not shown, because there are too many. */
export const LOAD = 'load/';

/** One acknowledged call. Times are of `performance.now()`. */
export interface Acknowledged {
  readonly key: string;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** Calls one pod again and again, one call at a time, until it is stopped. */
export class Load {
  readonly acknowledged: Acknowledged[] = [];
  readonly failures: string[] = [];
  private readonly ended: Promise<void>;
  private stopped = false;

  /** @param call makes one call, with a new key each time. */
  constructor(pod: Pod, call: (pod: Pod, key: string) => Promise<unknown>) {
    this.ended = this.run(pod, call);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.ended;
  }

  private async run(pod: Pod, call: (pod: Pod, key: string) => Promise<unknown>): Promise<void> {
    for (let n = 1; !this.stopped; n += 1) {
      const key = `${LOAD}${pod.name}/${n}`;
      const startedAt = performance.now();
      try {
        await call(pod, key);
        this.acknowledged.push({ key, startedAt, endedAt: performance.now() });
      } catch (error) {
        this.failures.push(String(error));
        await new Promise((resolve) => setTimeout(resolve, 100)); // a refusal is fast, so pause
      }
    }
  }
}
