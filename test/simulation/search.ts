import { setImmediate } from 'node:timers/promises';
import type { Parts } from './cluster.js';
import type { Conditions } from './faults.js';
import { addCoverage, describeViolation } from './report.js';
import type { History } from './simulate.js';
import type { Coverage } from './world.js';

type Run = (seed: number, parts?: Parts, trace?: (line: string) => void) => History;

/** A bug, and the search that must find it. */
export interface PlantedBug {
  readonly parts: Parts;
  /** The invariants that it violates. */
  readonly found: readonly string[];
  /** The histories in which it shows most often. Default: all. */
  readonly conditions?: Conditions;
}

/**
 * Runs the histories of the seeds 1 to `seeds`, which must be sound.
 * @param option of `npm run sim`, to replay a seed.
 * @returns the counts of all of them together.
 */
export function searchAll(seeds: number, run: Run, option: string): Coverage {
  const coverage: Coverage = new Map();
  for (let seed = 1; seed <= seeds; seed += 1) {
    const history = run(seed);
    if (history.violation !== undefined) throw new Error(describeViolation(seed, history.violation, run, option));
    addCoverage(coverage, history.coverage);
  }
  return coverage;
}

/** @returns the first seed whose history with a planted bug violates an invariant that must find it; else undefined. */
export async function seedThatFinds(
  { found }: PlantedBug,
  seeds: number,
  run: (seed: number) => History,
): Promise<number | undefined> {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const message = run(seed).violation?.message ?? '';
    if (found.some((invariant) => message.startsWith(`${invariant}:`))) return seed;
    // Releases the memory of the promises of one history before the next one.
    await setImmediate();
  }
  return undefined;
}
