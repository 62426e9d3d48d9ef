import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A process that runs one of the scripts beside this file and reports its events, one JSON line at a time. */
export class Script<Event> {
  readonly events: Event[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #complaints = '';

  constructor(script: string, args: readonly string[]) {
    const path = fileURLToPath(new URL(script, import.meta.url));
    this.#child = spawn(process.execPath, ['--import', 'tsx', '--conditions=hedge-source', path, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: process.env,
    });
    this.#ended = once(this.#child, 'close');
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#complaints += chunk.toString()));
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.events.push(JSON.parse(line) as Event);
    });
  }

  /** Its output on stderr: empty unless it failed. */
  get complaints(): string {
    return this.#complaints;
  }

  /** Kills the process (`kill -9`), and waits until all its reports are in `events`. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

/** Polls until `isDone`; fails with `what` after `limitMs`. */
export async function until(what: string, limitMs: number, isDone: () => boolean): Promise<void> {
  const end = performance.now() + limitMs;
  while (!isDone()) {
    if (performance.now() > end) throw new Error(`Not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
