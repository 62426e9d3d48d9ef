import { eventually } from './demo-cluster.js';
import type { Hold } from './holds.js';
import { LOAD } from './load.js';
import type { Pod } from './pod.js';

/** An event of a pod about a permit or a lock: see `hold` of the app. */
interface HoldEvent {
  readonly event: 'held' | 'released' | 'lost';
  readonly token: string;
  readonly at: number;
}

/**
 * Makes a pod hold a permit or a lock. Resolves when the hold has ended, also when the pod was killed.
 *
 * @param held called when the pod reports that it holds it.
 * @throws Error when the pod did not acquire it, or the response ended early although the pod runs.
 */
export async function holdAt(pod: Pod, path: string, body: string, held = (): void => undefined): Promise<Hold> {
  let begun: HoldEvent | undefined;
  try {
    for await (const line of pod.lines(path, body)) {
      const event = JSON.parse(line) as HoldEvent;
      if (event.event === 'held') held();
      else if (event.event !== 'released' && event.event !== 'lost') throw new Error(line);
      else return { ...ofPod(pod, begun!), to: event.at, end: event.event };
      begun = event;
    }
    throw new Error(`The response of ${pod.name} to ${path} ended early`);
  } catch (error) {
    if (!pod.ending || begun === undefined) throw error;
    await pod.ended;
    return { ...ofPod(pod, begun), to: Date.now(), end: 'killed' };
  }
}

function ofPod({ name }: Pod, { at, token }: HoldEvent) {
  return { pod: name, token: BigInt(token), from: at };
}

/** Pods that acquire the permits of one semaphore again and again, and the record of their holds. */
export class Contest {
  readonly holds: Hold[] = [];
  readonly failures: string[] = [];
  private readonly name = `${LOAD}permits`;

  constructor(private readonly limit: number) {}

  /** Makes a pod hold a permit again and again. @returns a function that stops it, and waits for the last hold. */
  compete(pod: Pod, holdMs: number): () => Promise<void> {
    const stop = new AbortController();
    const run = async (): Promise<void> => {
      while (!stop.signal.aborted && !pod.ending) await this.hold(pod, holdMs);
    };
    const ended = run();
    return () => (stop.abort(), ended);
  }

  /** Resolves when the pod holds a permit. */
  begin(pod: Pod, holdMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      void this.hold(pod, holdMs, resolve).then(() =>
        reject(new Error(`${pod.name} did not acquire a permit: ${this.failures.join('; ')}`)),
      );
    });
  }

  /** Waits until each of the pods has `count` holds that began after a time. */
  eachHas(pods: readonly Pod[], count: number, after: number, withinMs: number): Promise<void> {
    const began = ({ name }: Pod): number => this.holds.filter(({ pod, from }) => pod === name && from > after).length;
    return eventually(
      withinMs,
      () => `each of ${pods.map(({ name }) => name).join()} has held ${count} permits; ${this.failures.join('; ')}`,
      async () => pods.every((pod) => began(pod) >= count),
    );
  }

  private async hold(pod: Pod, holdMs: number, held?: () => void): Promise<void> {
    try {
      this.holds.push(await holdAt(pod, '/semaphore', `${this.name} ${this.limit} ${holdMs}`, held));
    } catch (error) {
      if (pod.ending) return; // it waited, and held nothing
      this.failures.push(`${pod.name}: ${String(error)}`);
      await new Promise((resolve) => setTimeout(resolve, 100)); // a refusal is fast, so pause
    }
  }
}
