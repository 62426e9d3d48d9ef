/** One hold of a permit or a lock, as its pod reported it. Times are in milliseconds since 1970 by the clock of the machine. */
export interface Hold {
  readonly pod: string;
  readonly token: bigint;
  readonly from: number;
  /** The last instant at which it was held. For a killed pod: the instant at which its end was detected. */
  readonly to: number;
  readonly end: 'released' | 'lost' | 'killed';
}

/** The highest number of simultaneous holds. */
export function mostAtOnce(holds: readonly Hold[]): number {
  let [now, most] = [0, 0];
  for (const { change } of changes(holds)) most = Math.max(most, (now += change));
  return most;
}

/** The first instant with `count` simultaneous holds; undefined when there is none. */
export function firstWith(count: number, holds: readonly Hold[]): number | undefined {
  let now = 0;
  return changes(holds).find(({ change }) => (now += change) === count)?.at;
}

/** Begins and ends of holds in order. At the same instant, ends come before begins. */
function changes(holds: readonly Hold[]): { at: number; change: 1 | -1 }[] {
  return holds
    .flatMap(({ from, to }) => [{ at: from, change: 1 } as const, { at: to, change: -1 } as const])
    .sort((a, b) => a.at - b.at || a.change - b.change);
}
