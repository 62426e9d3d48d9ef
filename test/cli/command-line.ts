import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Controller, type INestApplicationContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { LeaderInterval, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';
import type { BackendFactory } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { sqlite } from 'nestjs-hedge/sqlite';
import { runCommandLine } from '../../libs/hedge/src/cli/program.js';
import { PostgresServer } from '../../scripts/postgres-server.js';
import { Pods, PATIENT } from '../nest/apps.js';
import { startServer } from '../postgres/target.js';

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Variables of this machine that would change a command. */
const VARIABLES = /^(HEDGE_|DATABASE_URL$)/;

/** Runs a command line in this process, without the variables of its environment. */
export async function nestjsHedge(...args: readonly string[]): Promise<Ended> {
  let [out, err] = ['', ''];
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    interactive: false,
  };
  const saved = Object.entries(process.env).filter(([name]) => VARIABLES.test(name));
  for (const [name] of saved) delete process.env[name];
  try {
    return { code: await runCommandLine(args, terminal), out, err };
  } finally {
    Object.assign(process.env, Object.fromEntries(saved));
  }
}

/** A command line in a process of its own. */
export class Running {
  static readonly #all = new Set<Running>();
  out = '';
  err = '';
  readonly ended: Promise<Ended>;
  readonly #process: ChildProcess;

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const own = Object.entries(process.env).filter(([name]) => !VARIABLES.test(name));
    const flags = ['--import', 'tsx', '--conditions=hedge-source', resolve('libs/hedge/src/cli/main.ts')];
    this.#process = spawn(process.execPath, [...flags, ...args], {
      env: { ...Object.fromEntries(own), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process.stdout!.on('data', (data) => (this.out += String(data)));
    this.#process.stderr!.on('data', (data) => (this.err += String(data)));
    this.ended = new Promise((resolve) => {
      this.#process.on('close', (code, signal) => {
        Running.#all.delete(this);
        resolve({ code: code ?? -1, out: this.out, err: signal === null ? this.err : `${this.err}${signal}` });
      });
    });
    Running.#all.add(this);
  }

  get pid(): number {
    return this.#process.pid!;
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Waits for a text in the output. */
  async until(text: string): Promise<void> {
    for (const end = performance.now() + 60_000; !this.out.includes(text);) {
      if (performance.now() > end) throw new Error(`No ${text} in the output:\n${this.out}\n${this.err}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends those that a failed test has left. */
  static async killAll(): Promise<void> {
    const left = [...Running.#all];
    for (const running of left) running.signal('SIGKILL');
    await Promise.all(left.map(({ ended }) => ended));
  }
}

@Controller()
class Handlers {
  @OnLeaderMessage('double')
  double(@Payload() { number }: { number: number }): { doubled: number } {
    return { doubled: number * 2 };
  }

  @OnLeaderMessage('fail')
  fail(): never {
    throw new Error('out of paper');
  }

  @OnBroadcast('flush')
  flush(): { flushed: boolean } {
    return { flushed: true };
  }

  @LeaderInterval(86_400_000, { name: 'tidy up' })
  tidy(): void {}

  @OnBroadcast('half')
  half(@Payload() { fails }: { fails: boolean }): void {
    if (fails) throw new Error('out of ink');
  }
}

/** Three pods in this process on a database, and the options of the command line for them. */
export class LiveGroup {
  readonly pods: Pods;

  private constructor(
    readonly options: readonly string[],
    backend: () => BackendFactory,
    private readonly remove: () => Promise<void> | void,
    timing: typeof PATIENT | 'local',
  ) {
    this.pods = new Pods({ controllers: [Handlers] }, { group: 'cli', timing, backend: backend() });
  }

  static async start(database: 'sqlite' | 'postgres', timing: typeof PATIENT | 'local' = PATIENT): Promise<LiveGroup> {
    const group = database === 'sqlite' ? LiveGroup.#onSqlite(timing) : await LiveGroup.#onPostgres(timing);
    await group.pods.startThree();
    return group;
  }

  static #onSqlite(timing: typeof PATIENT | 'local'): LiveGroup {
    const folder = mkdtempSync(join(tmpdir(), 'hedge-cli-'));
    const file = join(folder, 'hedge.db');
    const remove = (): void => rmSync(folder, { recursive: true, force: true });
    return new LiveGroup(['--group', 'cli', '--file', file], () => sqlite({ file }), remove, timing);
  }

  static async #onPostgres(timing: typeof PATIENT | 'local'): Promise<LiveGroup> {
    const server: PostgresServer = await startServer();
    const connectionString = server.url();
    const options = ['--group', 'cli', '--url', connectionString];
    return new LiveGroup(
      options,
      () => postgres({ connectionString }),
      () => server.stop(),
      timing,
    );
  }

  get leader(): INestApplicationContext {
    return this.pods.leader;
  }

  /** Runs a command on this group. */
  run(...args: readonly string[]): Promise<Ended> {
    return nestjsHedge(...this.options, ...args);
  }

  /** Runs a command with JSON output, and returns its document. */
  async json<Result>(...args: readonly string[]): Promise<Result> {
    const { code, out, err } = await this.run('-o', 'json', ...args);
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${err}`);
    return JSON.parse(out) as Result;
  }

  async close(): Promise<void> {
    await this.pods.close();
    await this.remove();
  }
}
