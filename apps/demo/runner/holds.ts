/** One hold of a permit or a lock, as its pod told it; times in milliseconds since 1970 by the machine's clock. */
export interface Hold {
  readonly pod: string;
  readonly token: bigint;
  readonly from: number;
  /** The last moment at which it was held; of a pod that was killed, when it was seen dead. */
  readonly to: number;
  readonly end: 'released' | 'lost' | 'killed';
}

/** How many were held at the same time at most. */
export function mostAtOnce(holds: readonly Hold[]): number {
  let [now, most] = [0, 0];
  for (const { change } of changes(holds)) most = Math.max(most, (now += change));
  return most;
}

/** When so many were held at the same time first; undefined when they never were. */
export function firstWith(count: number, holds: readonly Hold[]): number | undefined {
  let now = 0;
  return changes(holds).find(({ change }) => (now += change) === count)?.at;
}

/** Of one instant, the ends come before the beginnings. */
function changes(holds: readonly Hold[]): { at: number; change: 1 | -1 }[] {
  return holds
    .flatMap(({ from, to }) => [{ at: from, change: 1 } as const, { at: to, change: -1 } as const])
    .sort((a, b) => a.at - b.at || a.change - b.change);
}
