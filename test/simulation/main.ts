import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startProgress } from '../../scripts/progress.mjs';
import { simulateAnnouncements } from './announcements.js';
import { simulateFences } from './fences.js';
import { simulateLockQueues } from './lock-queues.js';
import { simulateReachability } from './reachability.js';
import { addCoverage, describeCoverage, describeViolation } from './report.js';
import { simulateRollout } from './rollout.js';
import { simulate } from './simulate.js';
import { simulateStalls } from './stalls.js';
import type { Coverage } from './world.js';

interface Share {
  readonly coverage: [string, number][];
  readonly violations: { readonly seed: number; readonly message: string }[];
}

/** The progress of a process with a share of the seeds. */
interface Done {
  readonly seeds: number;
  readonly violations: number;
}

/** Milliseconds between two reports of such a process. */
const REPORT_MS = 500;

// Histories create many errors, and their stacks are not needed.
Error.stackTraceLimit = 3;

const KINDS = {
  announcements: simulateAnnouncements,
  fences: simulateFences,
  'lock-queues': simulateLockQueues,
  reachability: simulateReachability,
  rollout: simulateRollout,
  stalls: simulateStalls,
};
type Kind = keyof typeof KINDS;
const KIND_NAMES = Object.keys(KINDS) as Kind[];

const USAGE = `Usage:
  npm run sim -- --seeds N [--seed FIRST]   run N histories, on all cores
  npm run sim -- --seed S                   replay one, with all its events

Both take one of these, for histories of that kind:
  --announcements   renewals that the leader announces
  --fences          fenced transactions
  --lock-queues     one lock that all pods want
  --reachability    partitions between pods that all reach the database
  --rollout         rolling updates
  --stalls          blocked event loops`;

const values = readArguments();
const kind = KIND_NAMES.find((name) => values[name]);
const flag = kind && `--${kind}`;
const run = kind === undefined ? simulate : KINDS[kind];
const option = flag === undefined ? '--seed' : `${flag} --seed`;
const first = numberOf('--seed', values.seed ?? '1');

if (values.help) console.log(USAGE);
else if (values.step !== undefined)
  process.send?.({ share: await runShare(numberOf('--seeds', values.seeds), numberOf('--step', values.step)) });
else if (values.seeds !== undefined) process.exitCode = await runAll(numberOf('--seeds', values.seeds));
else process.exitCode = replay(first);

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        /** Of a process that runs a share of the seeds. */
        step: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        announcements: { type: 'boolean' },
        fences: { type: 'boolean' },
        'lock-queues': { type: 'boolean' },
        reachability: { type: 'boolean' },
        rollout: { type: 'boolean' },
        stalls: { type: 'boolean' },
      },
    });
    return values;
  } catch (error) {
    return wrongUse(error instanceof Error ? error.message : String(error));
  }
}

function wrongUse(problem: string): never {
  console.error(`${problem}\n\n${USAGE}`);
  process.exit(2);
}

function replay(seed: number): number {
  const { violation, coverage } = run(seed, undefined, (line) => console.log(line));
  console.log(describeCoverage(coverage));
  console.log(violation === undefined ? `seed ${seed}: nothing found` : (violation.stack ?? violation.message));
  return violation === undefined ? 0 : 1;
}

async function runAll(seeds: number): Promise<number> {
  const startedAt = performance.now();
  const workers = Math.min(seeds, availableParallelism());
  const done: Done[] = Array.from({ length: workers }, () => ({ seeds: 0, violations: 0 }));
  const progress = startProgress(() => describeDone(done, seeds));
  const shares = await Promise.all(
    done.map((_, index) => runInProcess(index, workers, seeds, (report) => (done[index] = report))),
  );
  progress.stop();
  const coverage: Coverage = new Map();
  for (const share of shares) addCoverage(coverage, share.coverage);
  console.log(describeCoverage(coverage));
  const violations = shares.flatMap((share) => share.violations).sort((a, b) => a.seed - b.seed);
  for (const { seed, message } of violations.slice(0, 3))
    console.log(`\n${describeViolation(seed, new Error(message), run, option)}`);
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

function describeDone(done: readonly Done[], seeds: number): string {
  const sum = done.reduce((a, b) => ({ seeds: a.seeds + b.seeds, violations: a.violations + b.violations }));
  return `${sum.seeds} of ${seeds} seeds (${Math.floor((100 * sum.seeds) / seeds)} %), ${sum.violations} violations`;
}

async function runInProcess(
  index: number,
  workers: number,
  seeds: number,
  onDone: (done: Done) => void,
): Promise<Share> {
  const share = Math.ceil((seeds - index) / workers);
  const args = ['--seed', String(first + index), '--seeds', String(share), '--step', String(workers)];
  if (flag !== undefined) args.push(flag);
  const child = fork(fileURLToPath(import.meta.url), args, { serialization: 'advanced' });
  let result: Share | undefined;
  child.on('message', (message: { readonly done: Done } | { readonly share: Share }) => {
    if ('done' in message) onDone(message.done);
    else result = message.share;
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (result === undefined) throw new Error(`A process with ${share} seeds ended with ${code} before its result.`);
  return result;
}

async function runShare(seeds: number, step: number): Promise<Share> {
  const coverage: Coverage = new Map();
  const violations: Share['violations'] = [];
  let reportedAt = performance.now();
  for (let index = 0; index < seeds; index += 1) {
    const history = run(first + index * step);
    addCoverage(coverage, history.coverage);
    if (history.violation !== undefined) violations.push({ seed: history.seed, message: history.violation.message });
    if (performance.now() - reportedAt >= REPORT_MS) {
      process.send?.({ done: { seeds: index + 1, violations: violations.length } });
      reportedAt = performance.now();
    }
    // Releases the memory of the promises of one history before the next one.
    await setImmediate();
  }
  return { coverage: [...coverage], violations };
}

function numberOf(option: string, text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text)) return wrongUse(`${option} takes a whole number`);
  return Number(text);
}
