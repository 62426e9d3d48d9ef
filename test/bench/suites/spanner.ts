import { Child } from '../child.js';
import { Cluster } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import type { SpannerFloorCommands } from '../spanner-floor.js';
import type { SpannerServerCommands } from '../spanner-server.js';
import { median, type Row } from '../statistics.js';

export interface SpannerRow extends Row {
  readonly callsPerOperation: number;
}

/** The key/value log from a follower, on Spanner (our emulator), compared with Google's client and a call for each. */
export async function spannerSuite(plan: Plan): Promise<SpannerRow[]> {
  const server = await Child.start<SpannerServerCommands>('spanner-server.ts');
  try {
    const { database, address } = await server.ask('database');
    const env = { BENCH_SPANNER: database, SPANNER_EMULATOR_HOST: address, METADATA_SERVER_DETECTION: 'none' };
    const floor = await Child.start<SpannerFloorCommands>('spanner-floor.ts', env);
    try {
      return await Cluster.runOn(env, 2, async (cluster) => {
        const follower = await cluster.follower();
        await follower.ask('fill');
        await floor.ask('fill');
        const hedge = (operation: 'put' | 'get', concurrency: number): Contestant => ({
          name: `spanner-${operation}`,
          concurrency,
          run: (shape) => follower.ask('run', { operation, ...shape }),
        });
        const contestants = [
          oneCommit(floor, 1),
          hedge('put', 1),
          oneCommit(floor, 64),
          hedge('put', 64),
          oneRead(floor, 1),
          hedge('get', 1),
          oneRead(floor, 64),
          hedge('get', 64),
        ].map((contestant) => new Counted(contestant, server));
        const rows = await compete(contestants, plan);
        return rows.map((row, index) => ({ ...row, callsPerOperation: contestants[index]?.callsPerOperation ?? 0 }));
      });
    } finally {
      await floor.end('SIGKILL');
    }
  } finally {
    await server.end('SIGKILL');
  }
}

function oneCommit(floor: Child<SpannerFloorCommands>, concurrency: number): Contestant {
  return { name: 'spanner-one-commit', concurrency, run: (shape) => floor.ask('insert', shape) };
}

function oneRead(floor: Child<SpannerFloorCommands>, concurrency: number): Contestant {
  return { name: 'spanner-one-read', concurrency, run: (shape) => floor.ask('read', shape) };
}

/** Also counts the calls that the server receives meanwhile, including renewals and reads of the lease. */
class Counted implements Contestant {
  readonly name: string;
  readonly concurrency: number;
  readonly #shares: number[] = [];

  constructor(
    private readonly contestant: Contestant,
    private readonly server: Child<SpannerServerCommands>,
  ) {
    this.name = contestant.name;
    this.concurrency = contestant.concurrency;
  }

  get callsPerOperation(): number {
    return median(this.#shares);
  }

  run: Contestant['run'] = async (shape) => {
    const before = await this.server.ask('calls');
    const round = await this.contestant.run(shape);
    this.#shares.push(((await this.server.ask('calls')) - before) / round.operations);
    return round;
  };
}
