// npm run sim -- --seeds N [--seed FIRST]   run N histories, on all cores
// npm run sim -- --seed S                   replay one, with all its events
// npm run sim -- --reachability S           replay one of the partitions between pods that all reach the database
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { simulateReachability } from './reachability.js';
import { addCoverage, describeCoverage, describeViolation } from './report.js';
import { simulate } from './simulate.js';
import type { Coverage } from './world.js';

interface Share {
  readonly coverage: [string, number][];
  readonly violations: { readonly seed: number; readonly message: string }[];
}

// Histories make many errors, and nobody reads where.
Error.stackTraceLimit = 3;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    step: { type: 'string' },
    reachability: { type: 'string' },
  },
});
const first = numberOf('--seed', values.seed ?? '1');

if (values.step !== undefined)
  process.send?.(await runShare(numberOf('--seeds', values.seeds), numberOf('--step', values.step)));
else if (values.seeds !== undefined) process.exitCode = await runAll(numberOf('--seeds', values.seeds));
else if (values.reachability !== undefined)
  process.exitCode = replay(numberOf('--reachability', values.reachability), simulateReachability);
else process.exitCode = replay(first, simulate);

function replay(seed: number, run: typeof simulate): number {
  const { violation, coverage } = run(seed, undefined, (line) => console.log(line));
  console.log(describeCoverage(coverage));
  console.log(violation === undefined ? `seed ${seed}: nothing found` : (violation.stack ?? violation.message));
  return violation === undefined ? 0 : 1;
}

async function runAll(seeds: number): Promise<number> {
  const startedAt = performance.now();
  const workers = Math.min(seeds, availableParallelism());
  const shares = await Promise.all(Array.from({ length: workers }, (_, index) => runInProcess(index, workers, seeds)));
  const coverage: Coverage = new Map();
  for (const share of shares) addCoverage(coverage, share.coverage);
  console.log(describeCoverage(coverage));
  const violations = shares.flatMap((share) => share.violations).sort((a, b) => a.seed - b.seed);
  for (const { seed, message } of violations.slice(0, 3))
    console.log(`\n${describeViolation(seed, new Error(message))}`);
  if (violations.length > 3)
    console.log(
      `\nmore seeds: ${violations
        .slice(3)
        .map(({ seed }) => seed)
        .join(' ')}`,
    );
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
  console.log(`\nsimulation: ${seeds} seeds in ${seconds} s on ${workers} cores, ${violations.length} violations`);
  return violations.length === 0 ? 0 : 1;
}

async function runInProcess(index: number, workers: number, seeds: number): Promise<Share> {
  const share = Math.ceil((seeds - index) / workers);
  const args = ['--seed', String(first + index), '--seeds', String(share), '--step', String(workers)];
  const child = fork(fileURLToPath(import.meta.url), args, { serialization: 'advanced' });
  let told: Share | undefined;
  child.on('message', (message) => (told = message as Share));
  const [code] = (await once(child, 'exit')) as [number | null];
  if (told === undefined) throw new Error(`a process with ${share} seeds ended with ${code} and told nothing`);
  return told;
}

async function runShare(seeds: number, step: number): Promise<Share> {
  const coverage: Coverage = new Map();
  const violations: Share['violations'] = [];
  for (let index = 0; index < seeds; index += 1) {
    const history = simulate(first + index * step);
    addCoverage(coverage, history.coverage);
    if (history.violation !== undefined) violations.push({ seed: history.seed, message: history.violation.message });
    // What a history left to promises, and what they hold, goes before the next one.
    await setImmediate();
  }
  return { coverage: [...coverage], violations };
}

function numberOf(option: string, text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text)) {
    console.error(`${option} takes a whole number, as: npm run sim -- --seeds 20000`);
    process.exit(2);
  }
  return Number(text);
}
