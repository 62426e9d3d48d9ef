import type { Coverage } from './world.js';
import { simulate } from './simulate.js';

const LAST_EVENTS = 40;

/** Describes the end of a history and the command to replay it. The history runs once more, to record its events. */
export function describeViolation(
  seed: number,
  violation: Error,
  run: typeof simulate = simulate,
  option = '--seed',
): string {
  const lines: string[] = [];
  run(seed, undefined, (line) => {
    lines.push(line);
    if (lines.length > LAST_EVENTS) lines.shift();
  });
  return [`seed ${seed} violates ${violation.message}`, ...lines, `replay: npm run sim -- ${option} ${seed}`].join(
    '\n',
  );
}

export function addCoverage(sum: Coverage, more: Iterable<readonly [string, number]>): void {
  for (const [what, times] of more) sum.set(what, (sum.get(what) ?? 0) + times);
}

/** The counts of all histories together. */
export function describeCoverage(coverage: Coverage): string {
  const rows = [...coverage].sort(([a], [b]) => (a < b ? -1 : 1));
  return rows.map(([what, times]) => `${String(times).padStart(10)}  ${what}`).join('\n');
}
