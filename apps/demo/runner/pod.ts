import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PodStream } from './pod-stream.js';

const PROGRAM = fileURLToPath(new URL('../dist/main.js', import.meta.url));

export interface PodSettings {
  readonly name: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly env: Readonly<Record<string, string>>;
  /** Called with each line of the output of the pod. */
  readonly onLine: (line: string) => void;
}

/** The used part of the response to GET /cluster. */
export interface ClusterState {
  readonly self: { readonly address: string; readonly incarnation: string };
  readonly leader: { readonly address: string; readonly incarnation: string } | null;
  readonly isLeader: boolean;
  readonly token: string | null;
  readonly view: { readonly settled: boolean; readonly members: readonly { readonly address: string }[] };
}

/** The end of a pod: `exit code 0` after an orderly stop, or the signal that ended it. */
export type Ending = string;

/** One pod: a process with the demo app. */
export class Pod {
  readonly name: string;
  readonly url: string;
  /** Resolves when the process has ended. */
  readonly ended: Promise<Ending>;
  private readonly process: ChildProcess;

  constructor(settings: PodSettings) {
    this.name = settings.name;
    this.url = `http://localhost:${settings.httpPort}`;
    // A separate process group: Ctrl-C reaches only the runner, which then stops the pods in order.
    this.process = spawn(process.execPath, [PROGRAM], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        ...settings.env,
        LOG_FORMAT: 'json',
        PORT: `${settings.httpPort}`,
        HEDGE_ADDRESS: `127.0.0.1:${settings.grpcPort}`,
      },
    });
    for (const output of [this.process.stdout, this.process.stderr]) {
      if (output !== null) createInterface({ input: output }).on('line', settings.onLine);
    }
    this.ended = once(this.process, 'exit').then(([code, signal]) => (signal as string | null) ?? `exit code ${code}`);
  }

  get pid(): number {
    return this.process.pid!;
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Whether the pod was signalled to end, or has ended. */
  get ending(): boolean {
    return this.process.killed || !this.running;
  }

  /** Sends SIGTERM, as Kubernetes does: the pod hands over the leadership and leaves. Resolves when it has ended. */
  stop(): Promise<Ending> {
    this.process.kill('SIGTERM');
    return this.ended;
  }

  /** Sends SIGKILL: the pod cannot react. Resolves when it has ended. */
  kill(): Promise<Ending> {
    this.process.kill('SIGKILL');
    return this.ended;
  }

  /** @throws Error with the response of the pod unless it is a success. */
  async request(path: string, body?: string): Promise<unknown> {
    const response = await fetch(`${this.url}${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body }),
      signal: AbortSignal.timeout(15_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${this.name} answered ${path} with ${response.status}: ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  /** The lines of the response. @throws Error as `PodStream.lines`. */
  lines(path: string, body: string): AsyncGenerator<string, void> {
    const stream = new PodStream(`${this.url}${path}`, 'POST');
    stream.end(body);
    return stream.lines();
  }

  /** Begins a request whose lines the caller writes. */
  stream(path: string): PodStream {
    return new PodStream(`${this.url}${path}`, 'PUT');
  }

  /** Begins a request whose response has lines until the caller closes it. */
  follow(path: string): PodStream {
    const stream = new PodStream(`${this.url}${path}`, 'GET');
    stream.end();
    return stream;
  }

  async cluster(): Promise<ClusterState> {
    return (await this.request('/cluster')) as ClusterState;
  }
}
