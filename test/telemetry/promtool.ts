import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { it } from '@jest/globals';

/** Path of the program of Prometheus that checks rules and metrics; undefined where it is not installed. */
export const PROMTOOL = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'promtool'))
  .find((path) => existsSync(path));

if (PROMTOOL === undefined) it.skip('promtool is not installed here. Run: apt-get install prometheus', () => undefined);

/** Runs promtool. The output is that of both streams. */
export async function promtool(args: readonly string[], input = ''): Promise<{ code: number; output: string }> {
  const child = spawn(PROMTOOL!, [...args]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number];
  return { code, output };
}
