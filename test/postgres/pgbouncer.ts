import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from '../../scripts/free-port.js';

/** Path of the program, or undefined where it is not installed. Debian installs it where only root looks. */
export const PGBOUNCER = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']
  .map((folder) => join(folder, 'pgbouncer'))
  .find((path) => existsSync(path));

/** PgBouncer in transaction mode: each statement can run on another session of the server. */
export class PgBouncer {
  /** The most sessions at the server. */
  static readonly poolSize = 8;

  #process: ChildProcess | undefined;
  #log = '';
  readonly #folder = mkdtempSync(join(tmpdir(), 'hedge-pgbouncer-'));

  private constructor(
    private readonly server: number,
    readonly port: number,
  ) {}

  /** @param server port of the server behind it */
  static async start(server: number): Promise<PgBouncer> {
    const bouncer = new PgBouncer(server, await freePort());
    await bouncer.start();
    return bouncer;
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  async start(): Promise<void> {
    const file = join(this.#folder, 'pgbouncer.ini');
    const config = `[databases]
postgres = host=127.0.0.1 port=${this.server} user=postgres dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${this.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${PgBouncer.poolSize}
max_client_conn = 200
server_login_retry = 1
`;
    writeFileSync(file, config);
    const root = process.getuid?.() === 0;
    // It refuses to run as root, whose files the other user must not be able to read.
    const flags = root ? ['-u', 'nobody', file] : [file];
    const child = spawn(PGBOUNCER ?? '', flags, { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' });
    this.#process = child;
    child.stderr.on('data', (chunk: Buffer) => (this.#log += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', () => this.#log.includes('process up') && resolve());
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`pgbouncer ended: ${this.#log}`)));
    });
  }

  /** `kill -9` */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    this.#log = '';
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
