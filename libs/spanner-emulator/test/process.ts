import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../src/cli.ts', import.meta.url));

/** The command, run from its source. */
export const spawnCli = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ['--import', 'tsx', CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });

/** Starts the command on a free port and waits for its ready line. */
export const startCli = async (
  args: readonly string[],
): Promise<{ readonly address: string; readonly line: string; stop(): Promise<number | null> }> => {
  const child = spawnCli(['--port', '0', ...args]);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const failed = exited.then(([code]) => {
    throw new Error(`the emulator exited with ${code} before it was ready`);
  });
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await Promise.race([once(lines, 'line'), failed])) as [string];
  const stop = async (): Promise<number | null> => {
    child.kill('SIGTERM');
    return (await exited)[0];
  };
  failed.catch(() => {});
  return { address: /ready on (\S+)/.exec(line)![1]!, line, stop };
};

/** Runs the command until it exits. */
export const runCli = async (
  args: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> => {
  const child = spawnCli(args);
  let [stdout, stderr] = ['', ''];
  child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
};
