import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { isTombstone } from '../../libs/hedge/src/database/log-table.js';
import type { RetentionLimits, RetentionRule } from '../../libs/hedge/src/kv/retention/retention.core.js';
import { RetentionRunner } from '../../libs/hedge/src/kv/retention/retention.runner.js';
import type { Cluster } from './cluster.js';
import { ELECTION } from './database.js';
import { later } from './later.js';
import type { Machine, Thread } from './machine.js';

/**
 * An append of this simulation may take effect 12.7 s after its put: 4 s by a slow clock, and the time for which a machine is
 * cut off from the database. The clock of the leader may be fast.
 */
const LIMITS: RetentionLimits = { everyMs: 700, leastAgeMs: 13_500, keys: 2, rows: 2, pauseMs: 5 };

const RULES: readonly RetentionRule[] = [
  { prefix: 'a', versions: 2 },
  { prefix: '', versions: 1, tombstonesDays: 0 },
];

/** The part of its process that retention needs. */
interface RetentionHost {
  readonly self: { readonly address: string };
  readonly machine: Machine;
  readonly main: Thread;
  readonly alive: boolean;
  after(ms: number, action: () => void): () => void;
}

/** The retention of one process: the real runner on the simulated database. */
export function podRetention(host: RetentionHost, cluster: Cluster): RetentionRunner {
  const { connection, database, parts, world } = cluster;
  const call = <Result>(effect: () => Result, fence?: { readonly token: bigint }): Promise<Result> => {
    const fenced = (): Result | HedgeError =>
      fence === undefined || database.lease.token === fence.token
        ? effect()
        : new HedgeError('LEASE_LOST', 'simulated');
    return later((resolve, reject) => {
      connection.call(host.main, fenced, (outcome) => {
        if (!host.alive) return;
        if (outcome.type !== 'done') return reject(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'));
        if (outcome.result instanceof HedgeError) return reject(outcome.result);
        resolve(outcome.result);
      });
    });
  };
  return new RetentionRunner(
    {
      log: {
        keys: ({ prefix, after = '', limit }) =>
          call(() => {
            const live = database.newestIn(prefix).filter((row) => row.key > after && !isTombstone(row));
            return live.slice(0, limit).map(({ key }) => key);
          }),
        // Nobody reads the row, so only its timestamp counts.
        overwrite: (_row, fence) => call(() => ({ timestamp: database.commitTime() }), fence),
        trimmable: (query) => call(() => database.trimmable(query)),
        trim: (trim, fence) =>
          call(() => {
            const deleted = database.trim(trim);
            if (deleted > 0) world.count('retention: deleted versions');
            return deleted;
          }, fence),
      },
      clock: { now: () => host.machine.now(), after: (ms, run) => host.after(ms, run) },
      lease: ELECTION,
      key: 'retention',
      address: () => host.self.address,
      rules: RULES,
      logger: { warn: () => world.count('retention: a sweep failed') },
    },
    parts.retention(RULES, LIMITS),
  );
}
