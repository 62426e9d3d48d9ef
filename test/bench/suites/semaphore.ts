import { Cluster, type Pod } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withNestGrpc } from '../floors.js';
import type { Plan } from '../options.js';
import { summarize, type Round, type Row } from '../statistics.js';

export interface SemaphoreRow extends Row {
  /** The most that were served while one waited, over how many wanted to be: 1 when they take turns. */
  readonly longestTurn?: number;
}

/** Semaphores from a follower, beside a put, which is one durable write through the leader as well. */
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

/** Its rounds are the waits; the hand-overs are kept beside. */
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
    // The first of all warmed up.
    return summarize('semaphore-hand-over', this.concurrency, this.#handOvers.slice(-rounds));
  }
}
