import { Cluster } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import { median, type Row } from '../statistics.js';

export interface TelemetryRow extends Row {
  /** The CPU time of both pods for each send, in microseconds. Other load of the machine changes it less than a rate. */
  readonly cpuMicrosPerSend?: number;
}

/** The variable that `telemetry.ts` reads, by the name of the row. */
const VARIANTS = {
  'send-no-sdk': '',
  'send-no-figures': 'no-figures',
  'send-metrics': 'metrics',
  'send-traces': 'traces',
} as const;

/** What figures, metrics and traces cost a `send`. */
export async function telemetrySuite(plan: Plan): Promise<TelemetryRow[]> {
  const cpuMicros = new Map<string, number[]>();
  const rows = await runVariants(Object.entries(VARIANTS), [], cpuMicros, plan);
  return rows.map((row) => ({ ...row, cpuMicrosPerSend: median((cpuMicros.get(row.name) ?? []).slice(1)) }));
}

/**
 * Starts the pods of one variant after another, so that all run while the rounds take turns.
 * @param cpuMicros gets the CPU time for each send: of the warm-up, then of each round
 */
function runVariants(
  [variant, ...others]: readonly (readonly [string, string])[],
  contestants: readonly Contestant[],
  cpuMicros: Map<string, number[]>,
  plan: Plan,
): Promise<Row[]> {
  if (variant === undefined) return compete(contestants, plan);
  const [name, telemetry] = variant;
  return Cluster.run(
    2,
    async (cluster) => {
      const follower = await cluster.follower();
      const cpu = async (): Promise<number> => {
        const times = await Promise.all(cluster.pods().map((pod) => pod.ask('cpu')));
        return times.reduce((sum, time) => sum + time, 0);
      };
      const run: Contestant['run'] = async (shape) => {
        const before = await cpu();
        const round = await follower.ask('run', { operation: 'send', ...shape });
        const micros = ((await cpu()) - before) / round.operations;
        cpuMicros.set(name, [...(cpuMicros.get(name) ?? []), micros]);
        return round;
      };
      return runVariants(others, [...contestants, { name, concurrency: 64, run }], cpuMicros, plan);
    },
    { BENCH_TELEMETRY: telemetry },
  );
}
