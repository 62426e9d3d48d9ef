import { Cluster, type Pod } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withNestGrpc } from '../floors.js';
import type { Plan } from '../options.js';
import { summarize, type Round, type Row } from '../statistics.js';

export interface SemaphoreRow extends Row {
  /** The highest number of grants to others while one caller waited, divided by the number of callers: 1 when they alternate. */
  readonly longestTurn?: number;
}

/** Semaphores from a follower, compared with a put, which is also one durable write through the leader. */
export function semaphoreSuite(plan: Plan): Promise<SemaphoreRow[]> {
  return withNestGrpc((nestGrpc) =>
    Cluster.run(2, async (cluster) => {
      const follower = await cluster.follower();
      const run = (operation: 'put' | 'semaphore', concurrency: number): Contestant => ({
        name: operation,
        concurrency,
        run: (shape) => follower.ask('run', { operation, ...shape }),
      });
      const contended = [8, 64].map((waiters) => new Contended(follower, waiters));
      const contestants: Contestant[] = [
        { name: 'nest-grpc-unary', concurrency: 1, run: nestGrpc },
        run('put', 1),
        run('semaphore', 1),
        run('semaphore', 64),
        ...contended,
      ];
      const rows = await compete(contestants, plan);
      const fairness = new Map(contended.map((each) => [contestants.indexOf(each), { longestTurn: each.longestTurn }]));
      return [
        ...rows.map((row, index) => ({ ...row, ...fairness.get(index) })),
        ...contended.map((each) => each.handOvers(plan)),
      ];
    }),
  );
}

/** The rounds are the waiting times. The hand-over times are recorded separately. */
class Contended implements Contestant {
  readonly name = 'semaphore-contended';
  longestTurn = 0;
  readonly #handOvers: Round[] = [];

  constructor(
    private readonly follower: Pod,
    readonly concurrency: number,
  ) {}

  run: Contestant['run'] = async (shape) => {
    const { waits, handOvers, longestTurn } = await this.follower.ask('contend', shape);
    this.longestTurn = Math.max(this.longestTurn, longestTurn);
    this.#handOvers.push(handOvers);
    return waits;
  };

  handOvers({ rounds }: Plan): Row {
    // The first round was the warm-up.
    return summarize('semaphore-hand-over', this.concurrency, this.#handOvers.slice(-rounds));
  }
}
