import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The built command `npx nestjs-hedge`. */
const NESTJS_HEDGE = fileURLToPath(new URL('../../../libs/hedge/dist/cli/main.js', import.meta.url));

type Environment = Readonly<Record<string, string>>;

/** Runs `nestjs-hedge` to its end. @throws Error when it fails */
export async function nestjsHedge(args: readonly string[], env: Environment = {}): Promise<void> {
  await promisify(execFile)(process.execPath, [NESTJS_HEDGE, ...args], { env: { ...process.env, ...env } });
}

/** A running `nestjs-hedge`. */
export class CommandLine {
  readonly lines: string[] = [];
  errors = '';
  /** The exit code; -1 after a signal. */
  readonly ended: Promise<number>;
  private readonly process: ChildProcess;

  constructor(
    env: Environment,
    args: readonly string[],
    readonly name: string,
  ) {
    this.process = spawn(process.execPath, [NESTJS_HEDGE, ...args], { env: { ...process.env, ...env } });
    createInterface({ input: this.process.stdout! }).on('line', (line) => this.lines.push(line));
    this.process.stderr!.on('data', (data) => (this.errors += String(data)));
    this.ended = new Promise((resolve) => this.process.on('close', (code) => resolve(code ?? -1)));
  }

  /** Ends the standard input. */
  end(): void {
    this.process.stdin!.end();
  }

  /** Ends the process, and the command that it runs. */
  kill(): void {
    this.process.kill('SIGTERM');
  }
}
