import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Controller, type INestApplicationContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { LeaderInterval, LeaderJob, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';
import type { BackendFactory, HedgeOptions } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import { runCommandLine } from '../../libs/hedge/src/cli/program.js';
import { PostgresServer } from '../../scripts/postgres-server.js';
import { Pods, PATIENT, until } from '../nest/apps.js';
import { startServer } from '../postgres/target.js';
import { openTarget } from '../spanner/target.js';

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Variables of this machine that would change a command. */
const VARIABLES = /^(HEDGE_|DATABASE_URL$)/;

/** Runs a command line in this process, without the variables of its environment. */
export function nestjsHedge(...args: readonly string[]): Promise<Ended> {
  return runIn({}, args);
}

async function runIn(environment: Readonly<Record<string, string>>, args: readonly string[]): Promise<Ended> {
  let [out, err] = ['', ''];
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
  };
  const saved = Object.entries(process.env).filter(([name]) => VARIABLES.test(name));
  for (const [name] of saved) delete process.env[name];
  Object.assign(process.env, environment);
  try {
    return { code: await runCommandLine(args, terminal), out, err };
  } finally {
    for (const name of Object.keys(environment)) delete process.env[name];
    Object.assign(process.env, Object.fromEntries(saved));
  }
}

/** All commands, such as `status` and `kv get`, as the help lists them. */
export async function commandPaths(parent: readonly string[] = []): Promise<string[]> {
  const { out } = await nestjsHedge(...parent, '--help');
  const [, list = ''] = out.split('\nCommands:\n');
  const names = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name]) => name!).filter((name) => name !== 'help');
  if (names.length === 0) return [parent.join(' ')];
  const paths: string[] = [];
  for (const name of names) paths.push(...(await commandPaths([...parent, name])));
  return paths;
}

/** The words that start `nestjs-hedge` from its sources. */
const NESTJS_HEDGE = [
  process.execPath,
  '--import',
  'tsx',
  '--conditions=hedge-source',
  resolve('libs/hedge/src/cli/main.ts'),
];

/** Processes of a test, which end with it. */
abstract class TestProcess {
  static readonly #all = new Set<TestProcess>();
  out = '';
  err = '';
  readonly ended: Promise<Ended>;
  protected readonly process: ChildProcess;

  constructor([file = '', ...args]: readonly string[], stdin: 'ignore' | 'pipe', environment: NodeJS.ProcessEnv) {
    const own = Object.entries(process.env).filter(([name]) => !VARIABLES.test(name));
    this.process = spawn(file, args, {
      env: { ...Object.fromEntries(own), ...environment },
      stdio: [stdin, 'pipe', 'pipe'],
    });
    this.process.stdout!.on('data', (data) => (this.out += String(data)));
    this.process.stderr!.on('data', (data) => (this.err += String(data)));
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code, signal) => {
        TestProcess.#all.delete(this);
        resolve({ code: code ?? -1, out: this.out, err: signal === null ? this.err : `${this.err}${signal}` });
      });
    });
    TestProcess.#all.add(this);
  }

  get pid(): number {
    return this.process.pid!;
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }

  /** Waits for a text in the output. */
  async until(text: string): Promise<void> {
    await until(() => this.out.includes(text), text).catch((error: Error) => {
      throw new Error(`${error.message}. The output:\n${this.out}\n${this.err}`);
    });
  }

  /** Ends those that a failed test has left. */
  static async killAll(): Promise<void> {
    const left = [...TestProcess.#all];
    for (const running of left) running.signal('SIGKILL');
    await Promise.all(left.map(({ ended }) => ended));
  }
}

/** A command line in a process of its own. */
export class Running extends TestProcess {
  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    super([...NESTJS_HEDGE, ...args], 'ignore', environment);
  }
}

/** Where it is missing, tests with a terminal are skipped. It is a part of util-linux. */
export const HAS_TERMINALS = spawnSync('script', ['-qec', 'true', '/dev/null'], { stdio: 'ignore' }).status === 0;

/** An interactive shell at a terminal. The terminal shows what is typed, and all output, in `out`. */
export class TerminalSession extends TestProcess {
  /** @param args the command line that `start` types. A variable keeps its words out of what the terminal shows. */
  constructor(args: readonly string[]) {
    const COMMAND = [...NESTJS_HEDGE, ...args].map(quoted).join(' ');
    super(['script', '-qefc', 'sh -i', '/dev/null'], 'pipe', { ENV: '', PS1: '> ', COMMAND });
  }

  type(keys: string): void {
    this.process.stdin!.write(keys);
  }

  start(): void {
    this.type('eval "$COMMAND"\n');
  }

  /** The exit code of the last command of the shell. */
  async exitCode(): Promise<number> {
    this.type('echo "ended with "$?\n');
    const ended = /ended with (\d+)/;
    await until(() => ended.test(this.out), 'the exit code');
    return Number(ended.exec(this.out)![1]);
  }
}

/** As one word of a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
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

  @LeaderJob('tenant report')
  report(): void {}

  @OnBroadcast('half')
  half(@Payload() { fails }: { fails: boolean }): void {
    if (fails) throw new Error('out of ink');
  }
}

interface TestDatabase {
  readonly backend: BackendFactory;
  readonly options: readonly string[];
  remove(): Promise<void> | void;
}

const DATABASES = {
  sqlite(): TestDatabase {
    const folder = mkdtempSync(join(tmpdir(), 'hedge-cli-'));
    const file = join(folder, 'hedge.db');
    const remove = (): void => rmSync(folder, { recursive: true, force: true });
    return { backend: sqlite({ file }), options: ['--file', file], remove };
  },
  async postgres(): Promise<TestDatabase> {
    const server: PostgresServer = await startServer();
    const connectionString = server.url();
    const options = ['--url', connectionString];
    return { backend: postgres({ connectionString }), options, remove: () => server.stop() };
  },
  async spanner(): Promise<TestDatabase> {
    const { database, close } = await openTarget();
    return { backend: spanner({ database }), options: ['--database', database], remove: close };
  },
};

/** Three pods in this process on a database, and the options of the command line for them. */
export class LiveGroup {
  readonly pods: Pods;
  readonly options: readonly string[];
  /** Variables of the commands that `run` runs. */
  readonly environment: Record<string, string> = {};

  private constructor(
    private readonly database: TestDatabase,
    pods: Partial<HedgeOptions>,
  ) {
    this.options = ['--group', 'cli', ...database.options];
    this.pods = new Pods({ controllers: [Handlers] }, { group: 'cli', backend: database.backend, ...pods });
  }

  static async start(database: keyof typeof DATABASES, options: Partial<HedgeOptions> = {}): Promise<LiveGroup> {
    const group = new LiveGroup(await DATABASES[database](), { timing: PATIENT, ...options });
    await group.pods.startThree();
    return group;
  }

  get leader(): INestApplicationContext {
    return this.pods.leader;
  }

  /** Runs a command on this group. */
  run(...args: readonly string[]): Promise<Ended> {
    return runIn(this.environment, [...this.options, ...args]);
  }

  /** Runs a command with JSON output, and returns its document. */
  async json<Result>(...args: readonly string[]): Promise<Result> {
    const { code, out, err } = await this.run('-o', 'json', ...args);
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${err}`);
    return JSON.parse(out) as Result;
  }

  async close(): Promise<void> {
    await this.pods.close();
    await this.database.remove();
  }
}
