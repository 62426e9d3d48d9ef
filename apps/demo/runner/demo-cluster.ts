import type { Console } from './console.js';
import type { Database } from './database.js';
import { type ClusterState, type Ending, Pod } from './pod.js';
import type { Run } from './firings.js';
import { LOAD } from './load.js';
import { lossOf, progressOf, readableEvent, runOf, type Stall, stallOf, termOf } from './pod-log.js';
import { HTTP_OFFSET, type Ports } from './ports.js';

/** Small limits, so that a few dozen megabytes fill a pod. */
const SPILL = { HEDGE_SPILL_MEMORY: '8MB', HEDGE_SPILL_DISK: '32MB' };

/** The pods of one demo, on one database. */
export class DemoCluster {
  /** The runs of the job that the pods have logged. */
  readonly runs: Run[] = [];
  /** The tokens with which pods have led, as they have logged them. */
  readonly terms: bigint[] = [];
  /** The leases that leaders have lost without handing them over, as they have logged them. */
  readonly losses: string[] = [];
  /** The stalls that each pod has logged. */
  readonly stalls = new Map<string, Stall[]>();
  /** The version of the pods that start now. */
  appVersion = 1;
  /** The thread that renews the leases of the pods that start now. */
  renewal: 'main' | 'worker' = 'main';
  private readonly all: Pod[] = [];
  private stopping = false;

  constructor(
    private readonly database: Database,
    private readonly ports: Ports,
    private readonly firstPort: number,
    private readonly console: Console,
    /** The spill directory of the pods. */
    readonly spillDirectory: string,
  ) {}

  /** The running pods. */
  get pods(): readonly Pod[] {
    return this.all.filter((pod) => pod.running);
  }

  /** The variables with which the pods, and clients, find the group. */
  get env(): Readonly<Record<string, string>> {
    return { ...this.database.env, HEDGE_GROUP: 'demo', HEDGE_TIMING: 'local' };
  }

  async add(): Promise<Pod> {
    const name = `pod-${this.all.length + 1}`;
    const grpcPort = await this.ports.next(this.firstPort + this.all.length);
    const httpPort = await this.ports.next(this.firstPort + HTTP_OFFSET + this.all.length);
    if (this.stopping) throw new Error(`${name} was not started: the demo is stopping`);
    const pod = new Pod({
      name,
      grpcPort,
      httpPort,
      env: {
        ...this.env,
        ...SPILL,
        HEDGE_SPILL_DIRECTORY: this.spillDirectory,
        HEDGE_APP_VERSION: `${this.appVersion}`,
        HEDGE_RENEWAL: this.renewal,
      },
      onLine: (line) => {
        const run = runOf(line);
        if (run !== undefined) this.runs.push(run);
        const term = termOf(line);
        if (term !== undefined) this.terms.push(term);
        const loss = lossOf(line);
        if (loss !== undefined) this.losses.push(loss);
        const stall = stallOf(line);
        if (stall !== undefined) this.stalls.set(name, [...(this.stalls.get(name) ?? []), stall]);
        const progress = progressOf(line);
        if (progress !== undefined) return this.console.progress(name, progress);
        const event = readableEvent(line);
        if (event !== undefined && !event.includes(LOAD)) this.console.event(name, event);
      },
    });
    this.all.push(pod);
    this.console.event(name, `started: pid ${pod.pid}, gRPC ${grpcPort}, HTTP ${httpPort}`);
    void pod.ended.then((ending) => this.console.event(name, `ended: ${ending}`));
    return pod;
  }

  /** Waits until every running pod sees the same leader, and a settled view of exactly the running pods. */
  async agree(withinMs: number): Promise<Agreement> {
    let agreement: Agreement | undefined;
    let reason = 'no pod runs';
    await eventually(
      withinMs,
      () => reason,
      async () => {
        const pods = this.pods;
        const states = await Promise.all(pods.map((pod) => pod.cluster()));
        reason = JSON.stringify(states);
        const leader = pods.find((_, index) => states[index]!.isLeader);
        const token = states.find((state) => state.isLeader)?.token;
        if (leader === undefined || typeof token !== 'string' || !areOneGroup(states)) return false;
        agreement = { leader, token: BigInt(token), followers: pods.filter((pod) => pod !== leader) };
        return true;
      },
    );
    return agreement!;
  }

  /** Waits until the job begins its next run. */
  async nextRun(withinMs: number): Promise<void> {
    const before = this.runs.length;
    await eventually(
      withinMs,
      () => 'the job runs',
      async () => this.runs.length > before,
    );
  }

  /** Sends SIGTERM to all pods, as when a Deployment is deleted. Resolves with their endings. */
  stop(): Promise<Ending[]> {
    this.stopping = true;
    return Promise.all(this.pods.map((pod) => pod.stop()));
  }

  /** Resolves when all pods have ended. */
  get ended(): Promise<Ending[]> {
    return Promise.all(this.all.map((pod) => pod.ended));
  }

  async kill(): Promise<void> {
    await Promise.all(this.pods.map((pod) => pod.kill()));
  }
}

export interface Agreement {
  readonly leader: Pod;
  readonly token: bigint;
  readonly followers: readonly Pod[];
}

function areOneGroup(states: readonly ClusterState[]): boolean {
  const selves = addresses(states.map(({ self }) => self));
  return states.every(
    ({ leader, view }) =>
      leader !== null &&
      leader.incarnation === states[0]?.leader?.incarnation &&
      view.settled &&
      addresses(view.members) === selves,
  );
}

function addresses(members: readonly { readonly address: string }[]): string {
  return members
    .map(({ address }) => address)
    .sort()
    .join(' ');
}

/** Polls a condition until it is true. Errors, such as of a pod that does not answer yet, count only at the time limit. */
export async function eventually(
  withinMs: number,
  explain: () => string,
  isTrue: () => Promise<boolean>,
): Promise<void> {
  const end = performance.now() + withinMs;
  let failure: unknown;
  for (;;) {
    try {
      if (await isTrue()) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > end) {
      throw new Error(`Not within ${withinMs} ms: ${explain()}`, { cause: failure });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
