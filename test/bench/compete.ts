import type { LoadShape } from './load.js';
import type { Plan } from './options.js';
import { summarize, type Round, type Row } from './statistics.js';

export interface Contestant {
  readonly name: string;
  readonly concurrency: number;
  run(shape: LoadShape): Promise<Round>;
}

/**
 * Measures contestants in turn, one round of each after another. Other load of the machine affects them equally, so their
 * ratios are more reliable than their rates.
 */
export async function compete(contestants: readonly Contestant[], plan: Plan): Promise<Row[]> {
  for (const { concurrency, run } of contestants) await run({ concurrency, seconds: plan.warmUpSeconds });
  const rounds = contestants.map((): Round[] => []);
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const [index, { concurrency, run }] of contestants.entries()) {
      rounds[index]?.push(await run({ concurrency, seconds: plan.roundSeconds }));
    }
  }
  return contestants.map(({ name, concurrency }, index) => summarize(name, concurrency, rounds[index] ?? []));
}
