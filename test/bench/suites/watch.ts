import { join } from 'node:path';
import { Cluster, withFolder, type Pod } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import { roundOf, summarize, type Round, type Row } from '../statistics.js';

const PODS = 3;
const WATCHERS = 100;

/**
 * Watches and retention, on SQLite: the time from the answer to a put until the last of many watchers has it, beside that of
 * a broadcast, and what a watch and a running retention cost puts.
 */
export function watchSuite(plan: Plan): Promise<Row[]> {
  return Cluster.run(PODS, (cluster) =>
    withFolder((folder) =>
      Cluster.runOn({ BENCH_FILE: join(folder, 'hedge.db'), BENCH_RETENTION: 'on' }, PODS, async (retaining) => {
        const follower = await cluster.follower();
        const retainingFollower = await retaining.follower();
        await openWatches(cluster.pods());
        const { pod: leader } = await cluster.leader();
        const reader = cluster.pods().find((pod) => pod !== follower && pod !== leader);
        await reader?.ask('watch', { prefix: 'watched/', watchers: 1 });
        const contestants = [1, 64].flatMap((concurrency): Contestant[] => [
          { name: 'watch-put', concurrency, run: (shape) => follower.ask('run', { operation: 'put', ...shape }) },
          {
            name: 'watch-put-watched',
            concurrency,
            run: (shape) => follower.ask('run', { operation: 'watchedPut', ...shape }),
          },
          {
            name: 'watch-put-retention',
            concurrency,
            run: (shape) => retainingFollower.ask('run', { operation: 'put', ...shape }),
          },
        ]);
        const fans = await fanOut(cluster.pods(), follower, plan);
        const puts = await compete(contestants, plan);
        const left = await retainingFollower.ask('versions');
        console.error(
          `  retention has left ${left} versions of a key, of ${await follower.ask('versions')} without it`,
        );
        return [...fans, ...puts];
      }),
    ),
  );
}

async function openWatches(pods: readonly Pod[]): Promise<void> {
  for (const [index, pod] of pods.entries()) {
    const watchers = Math.floor((WATCHERS + index) / pods.length);
    await pod.ask('watch', { prefix: 'fan/', watchers });
  }
}

/** The puts and the broadcasts take turns, one at a time. */
async function fanOut(pods: readonly Pod[], writer: Pod, plan: Plan): Promise<Row[]> {
  const [fans, broadcasts, puts]: [Round[], Round[], Round[]] = [[], [], []];
  for (let round = -1; round < plan.rounds; round += 1) {
    const seconds = round < 0 ? plan.warmUpSeconds : plan.roundSeconds;
    const written = await writer.ask('fanOut', { seconds });
    const arrivals = await Promise.all(pods.map((pod) => pod.ask('arrivals', written.length)));
    if (round < 0) continue;
    const last = (id: string): number => Math.max(...arrivals.map((ofPod) => ofPod[id] ?? Number.NaN));
    const add = (rounds: Round[], latenciesMs: number[]): void => void rounds.push(roundOf(latenciesMs, seconds));
    add(
      fans,
      written.map(({ id, answeredAt }) => last(id) - answeredAt),
    );
    add(
      broadcasts,
      written.map(({ broadcastMs }) => broadcastMs),
    );
    add(
      puts,
      written.map(({ putMs }) => putMs),
    );
  }
  return [
    pacedRow('watch-fan-out', WATCHERS, fans),
    pacedRow('watch-broadcast', 1, broadcasts),
    pacedRow('watch-paced-put', 1, puts),
  ];
}

/** The pauses decide the rate, so it is left out. */
function pacedRow(name: string, concurrency: number, rounds: readonly Round[]): Row {
  return { ...summarize(name, concurrency, rounds), opsPerSecond: 0, spread: 0 };
}
