import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../scripts/free-port.js';
import { Child } from './child.js';
import type { PodCommands } from './pod.js';

export type Pod = Child<PodCommands>;

/** Runs `use` with a temporary folder, and removes it afterwards. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'hedge-bench-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Pods of one group on one database, as real processes on loopback. */
export class Cluster {
  readonly #pods = new Map<string, Pod>();

  private constructor(private readonly database: Readonly<Record<string, string>>) {}

  /** As `runOn`, with pods on a SQLite file. @param env further environment variables of the pods */
  static async run<T>(
    size: number,
    use: (cluster: Cluster) => Promise<T>,
    env: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    return withFolder((folder) => Cluster.runOn({ BENCH_FILE: join(folder, 'hedge.db'), ...env }, size, use));
  }

  /**
   * Runs `use` when `size` pods know each other and one of them leads. Ends all of them afterwards.
   * @param database the environment variables that select the database of the pods.
   */
  static async runOn<T>(
    database: Readonly<Record<string, string>>,
    size: number,
    use: (cluster: Cluster) => Promise<T>,
  ): Promise<T> {
    const cluster = new Cluster(database);
    try {
      for (let pod = 0; pod < size; pod += 1) await cluster.add();
      await cluster.settled();
      return await use(cluster);
    } finally {
      await Promise.all([...cluster.#pods.values()].map((pod) => pod.end('SIGKILL')));
    }
  }

  async add(): Promise<void> {
    const address = `127.0.0.1:${await freePort()}`;
    this.#pods.set(address, await Child.start('pod.ts', { BENCH_ADDRESS: address, ...this.database }));
  }

  /** Waits until all pods see each other and the same leader. */
  async settled(): Promise<void> {
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      const pods = [...this.#pods.values()];
      const members = await Promise.all(pods.map((pod) => pod.ask('members')));
      const leaders = new Set(await Promise.all(pods.map((pod) => pod.ask('leader'))));
      if (members.every((count) => count === pods.length) && leaders.size === 1 && !leaders.has(undefined)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error('the pods did not form a group within 30 s');
  }

  pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  async leader(): Promise<{ address: string; pod: Pod }> {
    const [any] = this.#pods.values();
    const address = await any?.ask('leader');
    const pod = this.#pods.get(address ?? '');
    if (address === undefined || pod === undefined) throw new Error('the group has no leader');
    return { address, pod };
  }

  async follower(): Promise<Pod> {
    const { pod: leader } = await this.leader();
    const follower = [...this.#pods.values()].find((pod) => pod !== leader);
    if (follower === undefined) throw new Error('the group has no follower');
    return follower;
  }

  /** Ends a pod by a signal. Resolves when its process has ended. */
  async end(address: string, signal: NodeJS.Signals): Promise<void> {
    const pod = this.#pods.get(address);
    this.#pods.delete(address);
    await pod?.end(signal);
  }
}
