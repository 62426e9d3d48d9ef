import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../scripts/free-port.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { compileScript } from '../compiled-script.js';
import { PGBOUNCER, PgBouncer } from '../postgres/pgbouncer.js';
import { sql, startServer } from '../postgres/target.js';

export type LockKind = 'Redlock' | 'pg_advisory_lock' | 'lease' | 'fenced lease';
/** Where holder A stops. */
export type StopPoint = 'before its transaction' | 'in the fence' | 'before its commit';

export interface Schedule {
  readonly lock: LockKind;
  /** Undefined: it does not. */
  readonly stop: StopPoint | undefined;
}

/** Every lock has the same schedule; the fenced lease also stops where the others need not. */
export const SCHEDULES: readonly Schedule[] = [
  ...(['Redlock', 'pg_advisory_lock', 'lease', 'fenced lease'] as const).flatMap((lock) => [
    { lock, stop: undefined },
    { lock, stop: 'before its transaction' as const },
  ]),
  { lock: 'fenced lease', stop: 'in the fence' },
  { lock: 'fenced lease', stop: 'before its commit' },
];

export interface Result extends Schedule {
  /** The writers in the order of their commits, by the clock of the database. */
  readonly commits: string;
  /** What A is told of its transaction. */
  readonly told: string;
}

export interface Command extends Schedule {
  /** Its name is the locked resource. */
  readonly run: string;
}

export interface Urls {
  readonly transactions: string;
  readonly leases: string;
  readonly redis: readonly string[];
}

/** No step takes longer. */
const STEP_MS = 60_000;

const REDIS_SERVER = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'redis-server'))
  .find((path) => existsSync(path));

/** The program that a lock needs and this machine does not have. */
export function missing(lock: LockKind): string | undefined {
  if (lock === 'Redlock' && REDIS_SERVER === undefined) return 'redis-server';
  return lock === 'pg_advisory_lock' && PGBOUNCER === undefined ? 'pgbouncer' : undefined;
}

/** The servers, and two processes that use them: holder A, which stops, and its successor B. */
export class Stage {
  #runs = 0;
  #clearing: Promise<void> | undefined;

  private constructor(
    private readonly servers: { stop(): Promise<void> }[],
    private readonly database: string,
    private readonly a: Holder,
    private readonly b: Holder,
    private readonly say: (line: string) => void,
  ) {}

  /** @param say called with each step, in words */
  static async set(say: (line: string) => void = () => undefined): Promise<Stage> {
    const servers: { stop(): Promise<void> }[] = [];
    try {
      // The database records the order of commits.
      const database = await startServer({ settings: { track_commit_timestamp: 'on' } });
      servers.push(database);
      await sql(database.url(), 'CREATE TABLE writes (resource text, writer text)');
      const urls = { ...(await poolerOf(database, servers)), redis: await redisUrls(servers) };
      const script = compileScript('test/proof/holder.ts');
      servers.push({ stop: async () => script.remove() });
      const [a, b] = [new Holder(script.path, 'A', urls), new Holder(script.path, 'B', urls)];
      servers.push(a, b);
      // Each says that it is ready.
      await Promise.all([a.next(), b.next()]);
      return new Stage(servers, database.url(), a, b, say);
    } catch (error) {
      await stopAll(servers);
      throw error;
    }
  }

  /** A acquires the lock and stops, B acquires it after A and writes, A continues and writes. */
  async perform({ lock, stop }: Schedule): Promise<Result> {
    const { a, b, say } = this;
    this.#runs += 1;
    const run = `resource ${this.#runs}`;
    a.do({ run, lock, stop });
    let told = await a.next();
    if (stop === undefined) {
      say(`A acquires the lock, writes a row, and is told: ${told}.`);
    } else {
      if (told !== 'stops') throw new Error(`Holder A should stop ${stop}, and reports "${told}".`);
      await a.stopped();
      say(`A acquires the lock, and stops ${stop} (SIGSTOP).`);
    }
    b.do({ run, lock, stop: undefined });
    say(`B acquires the lock, writes a row, and is told: ${await b.next()}.`);
    if (stop !== undefined) {
      a.resume();
      told = await a.next();
      say(`A continues where it stopped (SIGCONT), and is told: ${told}.`);
    }
    const commits = await this.#commits(run);
    say(`The database has the rows of these writers, in the order of their commits: ${commits}.`);
    return { lock, stop, commits, told };
  }

  async #commits(run: string): Promise<string> {
    const rows = await sql(
      this.database,
      `SELECT string_agg(writer, ', ' ORDER BY pg_xact_commit_timestamp(xmin)) AS writers FROM writes WHERE resource = '${run}'`,
    );
    return String(rows[0]?.['writers']);
  }

  /** Ends all processes. Idempotent. */
  clear(): Promise<void> {
    this.#clearing ??= stopAll(this.servers);
    return this.#clearing;
  }
}

/** Transactions have a pool of sessions in the server of their own, as in an app whose pooler serves nothing else. */
async function poolerOf(database: PostgresServer, servers: { stop(): Promise<void> }[]): Promise<Omit<Urls, 'redis'>> {
  if (PGBOUNCER === undefined) return { transactions: database.url(), leases: database.url() };
  const [transactions, leases] = [await PgBouncer.start(database.port), await PgBouncer.start(database.port)];
  servers.push(transactions, leases);
  return { transactions: transactions.url, leases: leases.url };
}

/** Three servers: Redlock needs a majority of them. */
async function redisUrls(servers: { stop(): Promise<void> }[]): Promise<string[]> {
  if (REDIS_SERVER === undefined) return [];
  const urls: string[] = [];
  while (urls.length < 3) {
    const server = await RedisServer.start(REDIS_SERVER);
    servers.push(server);
    urls.push(server.url);
  }
  return urls;
}

async function stopAll(servers: { stop(): Promise<void> }[]): Promise<void> {
  for (const server of servers.splice(0).reverse()) await server.stop();
}

class RedisServer {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'hedge-redis-'));

  private constructor(
    program: string,
    private readonly port: number,
  ) {
    const flags = ['--bind', '127.0.0.1', '--port', String(port), '--dir', this.#folder, '--save', ''];
    this.#child = spawn(program, flags, { stdio: 'ignore' });
  }

  /** Its clients connect as soon as it listens. */
  static async start(program: string): Promise<RedisServer> {
    return new RedisServer(program, await freePort());
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    await killed(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A process that runs `holder.ts`. */
class Holder {
  readonly #child: ChildProcess;
  readonly #reports: string[] = [];
  #errors = '';
  #heard: () => void = () => undefined;

  constructor(
    script: string,
    private readonly name: string,
    urls: Urls,
  ) {
    const child = spawn(process.execPath, [script, name, JSON.stringify(urls)], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()));
    child.once('exit', () => this.#heard());
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#reports.push(line);
      this.#heard();
    });
  }

  do(command: Command): void {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  /** Its next report. */
  async next(): Promise<string> {
    const late = AbortSignal.timeout(STEP_MS);
    while (this.#reports.length === 0) {
      if (this.#child.exitCode !== null || late.aborted)
        throw new Error(`Holder ${this.name} reports nothing: ${this.#errors}`);
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
        late.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    return this.#reports.shift()!;
  }

  /** Waits until the kernel has stopped it, where /proc shows that (Linux). */
  async stopped(): Promise<void> {
    const file = `/proc/${this.#child.pid}/stat`;
    while (existsSync(file) && !/\) T /.test(readFileSync(file, 'utf8'))) await sleep(5);
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  stop(): Promise<void> {
    return killed(this.#child);
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
