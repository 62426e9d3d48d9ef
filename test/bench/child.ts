import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** The commands of a child process. */
// oxlint-disable-next-line typescript/no-explicit-any -- each command has its own argument
export type Commands = Record<string, (argument: any) => unknown>;

interface Question {
  readonly id: number;
  readonly command: string;
  readonly argument: unknown;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** A process of the benchmark, called over the IPC channel of Node. It ends with the benchmark, also after an error. */
export class Child<C extends Commands> {
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #questions = 0;

  private constructor(
    private readonly process: ChildProcess,
    private readonly name: string,
  ) {
    process.on('message', (answer: Answer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.error === undefined) waiting?.resolve(answer.result);
      else waiting?.reject(new Error(`${name}: ${answer.error}`));
    });
    process.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ended (${signal ?? code})`));
      this.#waiting.clear();
    });
  }

  /**
   * Starts `file` (in this folder) and waits until it accepts commands.
   * @param env environment variables of the child
   */
  static async start<C extends Commands>(file: string, env: Record<string, string> = {}): Promise<Child<C>> {
    const path = new URL(file, import.meta.url);
    // Output of SQLite and Node would disturb the table. Errors arrive as answers, or on stderr.
    const process_ = fork(path, { execArgv: ['--import', 'tsx'], env: { ...process.env, ...env } });
    const child = new Child<C>(process_, file);
    await child.#ask('ready', undefined);
    return child;
  }

  ask<K extends keyof C & string>(command: K, ...argument: Parameters<C[K]>): Promise<Awaited<ReturnType<C[K]>>> {
    return this.#ask(command, argument[0]) as Promise<Awaited<ReturnType<C[K]>>>;
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill(signal);
    await ended;
  }

  #ask(command: string, argument: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = (this.#questions += 1);
      if (!this.process.connected) return reject(new Error(`${this.name} is not there`));
      this.#waiting.set(id, { resolve, reject });
      this.process.send({ id, command, argument } satisfies Question);
    });
  }
}

/** Called once by a child process: answers the commands of the benchmark from now on. */
export function answer(commands: Commands): void {
  const all: Commands = { ...commands, ready: () => undefined };
  process.on('message', ({ id, command, argument }: Question) => {
    void reply(id, () => all[command]?.(argument));
  });
  process.on('disconnect', () => process.exit(0));
}

async function reply(id: number, run: () => unknown): Promise<void> {
  let answered: Answer;
  try {
    answered = { id, result: await run() };
  } catch (error) {
    answered = { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  process.send?.(answered);
}
