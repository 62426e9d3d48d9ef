import { agree, type Pod, Pods } from '../e2e/pods.js';
import { PGBOUNCER, PgBouncer } from '../postgres/pgbouncer.js';
import { Proxy } from '../postgres/proxy.js';
import { sessionsOf, startServer } from '../postgres/target.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';

/** A pod, and its way to the database. */
export interface Member {
  readonly pod: Pod;
  readonly proxy: Proxy;
  /** The name of its sessions at the server. */
  readonly application: string;
  /** The most sessions that it may have. */
  readonly connections: number;
}

/** Size of the pool that one pod lends. */
const POOL = 3;

/** A server, and three pods: with connections of their own, through PgBouncer, and with a pool of the application. */
export class World {
  private constructor(
    readonly server: PostgresServer,
    readonly bouncer: PgBouncer | undefined,
    readonly members: readonly Member[],
    private readonly all: Pods,
  ) {}

  static async start(): Promise<World> {
    const all = await Pods.make();
    // An application relaxes durability for itself. An acknowledged put must not be affected.
    const settings = { synchronous_commit: 'off', wal_writer_delay: '10s', max_connections: '40' };
    const server = await startServer({ settings });
    const bouncer = PGBOUNCER === undefined ? undefined : await PgBouncer.start(server.port);
    const ways = [
      { port: server.port, connections: 5 },
      { port: bouncer?.port ?? server.port, connections: bouncer === undefined ? 5 : PgBouncer.poolSize },
      { port: server.port, pool: POOL, connections: POOL + 1 },
    ];
    const members = await Promise.all(
      ways.map(async ({ port, pool, connections }, index): Promise<Member> => {
        const proxy = await Proxy.start(port);
        const application = `pod${index}`;
        const url = `${proxy.url()}?application_name=${application}`;
        const pod = await all.start({ postgres: { url, ...(pool !== undefined && { pool }) } });
        return { pod, proxy, application, connections };
      }),
    );
    const world = new World(server, bouncer, members, all);
    await world.agree();
    return world;
  }

  get pods(): readonly Pod[] {
    return this.members.map(({ pod }) => pod);
  }

  /** Waits until all pods are one group, with a leader. */
  async agree(): Promise<void> {
    await agree(this.pods);
  }

  async leader(): Promise<Member | undefined> {
    const states = await Promise.all(this.pods.map((pod) => pod.state()));
    return this.members.find((_, index) => states[index]!.isLeader);
  }

  sessionsOf({ application }: Member): Promise<number[]> {
    return sessionsOf(this.server, application);
  }

  async close(): Promise<void> {
    await this.all.close();
    for (const { proxy } of this.members) await proxy.close();
    await this.bouncer?.stop();
    await this.server.stop();
  }
}
