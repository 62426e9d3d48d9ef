import type { Cluster } from './cluster.js';
import type { Holding } from './fenced-transactions.js';
import type { Pod } from './pod.js';
import { violated } from './violation.js';
import { actAtRandom } from './workload.js';

type Statement = 'write' | 'fence' | 'commit' | 'rollback';

/** The fence guards the whole transaction, wherever it stands. */
const ORDERS: readonly (readonly Statement[])[] = [
  ['write', 'fence'],
  ['write', 'fence'],
  ['fence', 'write'],
  ['write', 'fence', 'write'],
];

/** Pods run transactions until then under what they hold, or held before. */
export function runFencedTransactions(cluster: Cluster, until: number): void {
  const { random } = cluster;
  actAtRandom(cluster, until, random.skewed(40, 400), (pod) => {
    const holdings = cluster.fenced.holdingsOf(pod.self);
    if (holdings.length > 0) transact(cluster, pod, random.pick(holdings));
  });
}

/** One transaction. There is time between its statements, in which the process can stand still, end, or be replaced. */
function transact(cluster: Cluster, pod: Pod, holding: Holding): void {
  const { connection, fenced, parts, random, world } = cluster;
  const transaction = parts.transaction(world, holding.idleMs);
  const statements = [...random.pick(ORDERS), random.chance(0.95) ? ('commit' as const) : ('rollback' as const)];
  // Without the check it is a holder whose clocks all stood still, so that it cannot know.
  const checks = random.chance(0.5);
  // The work waits for something that never comes.
  const hangsAt = random.chance(0.05) ? random.pick(statements) : undefined;
  fenced.begun(transaction, pod.self);
  const effects: Readonly<Record<Statement, () => boolean>> = {
    write: () => transaction.write(() => fenced.committed(holding)),
    fence: () => parts.fence(transaction, holding),
    commit: () => transaction.commit(),
    rollback: () => (transaction.abort(), true),
  };
  const end = (how: string): void => {
    world.count(`transactions: ${how}`);
    fenced.disconnected(transaction);
  };
  const next = (index: number): void => {
    const statement = statements[index];
    if (statement === undefined) return;
    if (statement === hangsAt) return world.count('transactions: hangs');
    if (statement === 'fence' && checks && !holding.isValid()) return end('not held');
    connection.call(pod.main, effects[statement], (outcome) => {
      if (!pod.alive) return;
      if (outcome.type !== 'done') return end(`${statement}, ${outcome.type}`);
      if (!outcome.result) return end(`${statement}, failed`);
      pod.after(random.skewed(0.5, 2_000), () => next(index + 1));
    });
  };
  next(0);
}

/** The longest time until a waiting pod has looked at the row, and asked for it. */
const LOOKS_WITHIN = 1_500;

/**
 * The holder of a lock stands still for good, with a fenced transaction open. Another pod that waits for the lock has it
 * when the lease has ended and the transaction has been idle for its longest time, whichever is later. The returned
 * function checks that after the returned time.
 */
export function standStill(cluster: Cluster): { readonly withinMs: number; readonly check: () => void } {
  const { random, timing, world } = cluster;
  const [holder, successor] = random.chance(0.5) ? cluster.pods() : cluster.pods().reverse();
  let isServed = false;
  let stands = false;
  holder?.run(() =>
    holder.locks.use('stand-still', false, Infinity, Infinity, () => {
      const holding = cluster.fenced.holdingsOf(holder.self).at(-1);
      if (holding === undefined) return;
      const transaction = cluster.parts.transaction(world, holding.idleMs);
      cluster.connection.call(
        holder.machine,
        () => cluster.parts.fence(transaction, holding),
        ({ type }) => {
          stands = type === 'done';
          holder.machine.freeze(Infinity, random.chance(0.5));
          successor?.run(() => successor.locks.use('stand-still', false, Infinity, 0, () => (isServed = true)));
        },
      );
    }),
  );
  return {
    withinMs: 2 * timing.backendTimeoutMs + timing.leaseMs + LOOKS_WITHIN,
    check: () => {
      if (!stands) violated('L4', 'the holder that is to stand still could not fence');
      if (!isServed) violated('L4', 'nobody could follow a holder that stands still in a fenced transaction');
    },
  };
}
