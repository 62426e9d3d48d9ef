import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from '@jest/globals';

const MINUTES = 60_000;
/** Above the time of a tour on a busy machine. */
const TOUR_MS = 4 * MINUTES;
/** Lines before a failed step that are shown with it. */
const BEFORE = 30;

export interface Ended {
  readonly out: string;
  readonly err: string;
  readonly code: number | null;
}

/** Runs `npm run demo` with arguments, until it ends or the time is over. */
export async function demo(...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, ['apps/demo/runner/start.mjs', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TOUR_MS,
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => (out += String(text)));
  child.stderr.setEncoding('utf8').on('data', (text) => (err += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { out, err, code };
}

/** A test that runs the tour on one backend. Tours run beside each other, so each has its own ports. */
export function itRunsTheTour(backend: string, port: number): void {
  it(
    `runs the whole tour on ${backend}`,
    async () => {
      const ended = await demo('--tour', '--backend', backend, '--port', String(port));
      const passed = ended.code === 0 && ended.out.trimEnd().endsWith('\ntour: 23 passed, 0 failed');
      if (!passed) throw new Error(explain(ended));
      expect(ended.out).not.toContain('   FAILED');
    },
    TOUR_MS + MINUTES,
  );
}

/** The failed steps of a tour, with the log of the pods before and during each; else the end of the output. */
export function explain({ out, err, code }: Ended): string {
  const lines = out.trimEnd().split('\n');
  const headings = lines.flatMap((line, index) => (line.startsWith('-- ') ? [index] : []));
  const steps = lines.flatMap((line, end) =>
    line.startsWith('   FAILED') ? [{ start: headings.filter((index) => index < end).at(-1) ?? 0, end }] : [],
  );
  const summary = [`The tour ended with code ${code}: ${lines.at(-1)}`];
  for (const { start, end } of steps) summary.push(lines[start]!, lines[end]!);
  const parts = steps.map(({ start, end }) => lines.slice(Math.max(0, start - BEFORE), end + 1));
  if (parts.length === 0) parts.push(lines.slice(-2 * BEFORE));
  return [summary, ...parts, [err]].map((part) => part.join('\n')).join('\n[…]\n');
}
