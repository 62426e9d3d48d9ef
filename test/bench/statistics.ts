/** One timed run of an operation under a fixed number of concurrent callers. */
export interface Round {
  readonly operations: number;
  readonly opsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** The median of several rounds. */
export interface Row extends Omit<Round, 'operations'> {
  readonly name: string;
  readonly concurrency: number;
  /** Largest minus smallest rate of the rounds, as a share of the median. */
  readonly spread: number;
}

export function summarize(name: string, concurrency: number, rounds: readonly Round[]): Row {
  const rates = rounds.map(({ opsPerSecond }) => opsPerSecond);
  const opsPerSecond = median(rates);
  return {
    name,
    concurrency,
    opsPerSecond,
    p50Ms: median(rounds.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(rounds.map(({ p99Ms }) => p99Ms)),
    spread: (Math.max(...rates) - Math.min(...rates)) / opsPerSecond,
  };
}

export function roundOf(latenciesMs: readonly number[], seconds: number): Round {
  const sorted = Float64Array.from(latenciesMs).sort();
  return {
    operations: sorted.length,
    opsPerSecond: sorted.length / seconds,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
  };
}

export function median(values: readonly number[]): number {
  return percentile(Float64Array.from(values).sort(), 0.5);
}

/** The nearest-rank percentile of sorted values. */
function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
