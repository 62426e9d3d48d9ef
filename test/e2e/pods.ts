import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isBuilt } from '../../scripts/workspace.mjs';
import { compileScript } from '../compiled-script.js';
import type { Answer, Call, PodCalls, PodSettings, PodState } from './protocol.js';

/** A pod did not start. The message is its output. */
export class StartFailed extends Error {}

/** A HedgeError of a pod, received over IPC. */
export class PodError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** A pod in a separate process. */
export class Pod {
  address = '';
  /** Its whole output. */
  output = '';
  /** Its exit code, or the signal that ended it: a Nest app that receives a signal to stop ends by the same signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
  private readonly process: ChildProcess;
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private calls = 0;

  private constructor(script: string, settings: PodSettings) {
    this.process = fork(script, [JSON.stringify(settings)], {
      execArgv: [],
      serialization: 'advanced', // tokens are bigint
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.process.stdout!.on('data', (data) => (this.output += String(data)));
    this.process.stderr!.on('data', (data) => (this.output += String(data)));
    this.ended = once(this.process, 'exit').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
    this.process.on('message', (message: Answer) => this.waiting.get(message.id)?.(message));
  }

  /**
   * @param script pod.ts, compiled. The library is the build, as users have it.
   * @throws StartFailed when the process ends instead.
   */
  static async start(script: string, settings: PodSettings): Promise<Pod> {
    const pod = new Pod(script, settings);
    const ready = once(pod.process, 'message').then(([message]) => (message as { ready: string }).ready);
    const address = await Promise.race([ready, pod.ended.then(() => undefined)]);
    if (address === undefined) throw new StartFailed(pod.output);
    pod.address = address;
    return pod;
  }

  get pid(): number {
    return this.process.pid!;
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }

  /** Sends SIGKILL, and waits for the end of the process. */
  async kill(): Promise<void> {
    if (this.running) this.process.kill('SIGKILL');
    await this.ended;
  }

  /** Sends SIGTERM, and waits for the end of the process. */
  stop(): Promise<number | NodeJS.Signals> {
    this.process.kill('SIGTERM');
    return this.ended;
  }

  /** @throws PodError with the code of the HedgeError of the pod. */
  call<Method extends keyof PodCalls>(
    method: Method,
    ...args: Parameters<PodCalls[Method]>
  ): Promise<Awaited<ReturnType<PodCalls[Method]>>> {
    const call: Call = { id: (this.calls += 1), method, args };
    return new Promise((fulfil, reject) => {
      this.waiting.set(call.id, ({ id, value, error }) => {
        this.waiting.delete(id);
        if (error !== undefined) reject(new PodError(error.code, error.message));
        else fulfil(value as Awaited<ReturnType<PodCalls[Method]>>);
      });
      this.process.send(call);
    });
  }

  state(): Promise<PodState> {
    return this.call('state');
  }
}

/** The pods of one test, and their database file. Close it after the test, also when it failed. */
export class Pods {
  private readonly all: Pod[] = [];
  private readonly script = compileScript('test/e2e/pod.ts');

  private constructor(private readonly folder: string) {}

  static async make(): Promise<Pods> {
    if (!isBuilt()) throw new Error('The pods run the build, and it is older than the sources. Run: npm run build');
    return new Pods(await mkdtemp(join(tmpdir(), 'hedge-e2e-')));
  }

  get file(): string {
    return join(this.folder, 'hedge.db');
  }

  async start(settings: Partial<PodSettings> = {}): Promise<Pod> {
    const pod = await Pod.start(this.script.path, {
      group: 'e2e',
      address: '127.0.0.1:0',
      file: this.file,
      ...settings,
    });
    this.all.push(pod);
    return pod;
  }

  /** Starts pods, and waits until they agree on a leader and on each other. Returns the leader first. */
  async startGroup(count: number, settings: Partial<PodSettings> = {}): Promise<Pod[]> {
    const pods = await Promise.all(Array.from({ length: count }, () => this.start(settings)));
    return agree(pods);
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((pod) => pod.kill()));
    this.script.remove();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Waits until exactly these pods are one settled group with one leader. Returns the leader first. */
export async function agree(pods: readonly Pod[]): Promise<Pod[]> {
  const everyone = pods
    .map(({ address }) => address)
    .sort()
    .join();
  return eventually(`agreement of ${everyone}`, async () => {
    const states = await Promise.all(pods.map((pod) => pod.state()));
    const leaders = pods.filter((_, index) => states[index]!.isLeader);
    const same = states.every(
      ({ leader, settled, members }) =>
        settled && leader === leaders[0]?.address && [...members].sort().join() === everyone,
    );
    return leaders.length === 1 && same ? [leaders[0]!, ...pods.filter((pod) => pod !== leaders[0])] : undefined;
  });
}

/** Polls until there is a value. The time limit is a bound, not a measurement. */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined>, withinMs = 30_000): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
