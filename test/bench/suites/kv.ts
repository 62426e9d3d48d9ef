import { ETCD, REDIS, withBroker } from '../brokers.js';
import { Cluster } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withSqlite } from '../floors.js';
import type { Plan } from '../options.js';
import type { Row } from '../statistics.js';

/** The key/value log from a follower, on SQLite with synchronous=FULL, compared with SQLite alone on the same disk. */
export function kvSuite(plan: Plan): Promise<Row[]> {
  return withSqlite((sqlite) =>
    withBroker(REDIS, [64], (redis) =>
      withBroker(ETCD, [64], (etcd) =>
        Cluster.run(2, async (cluster) => {
          const { pod: leader } = await cluster.leader();
          const follower = await cluster.follower();
          await follower.ask('fill');
          const hedge = (operation: 'put' | 'get', concurrency: number): Contestant => ({
            name: operation,
            concurrency,
            run: (shape) => follower.ask('run', { operation, ...shape }),
          });
          return compete(
            [
              { name: 'sqlite-one-row', concurrency: 1, run: (shape) => sqlite.ask('insert', shape) },
              { name: 'sqlite-append', concurrency: 1, run: (shape) => sqlite.ask('append', shape) },
              hedge('put', 1),
              hedge('put', 64),
              { name: 'sqlite-read', concurrency: 1, run: (shape) => sqlite.ask('read', shape) },
              { name: 'thread-round-trip', concurrency: 1, run: (shape) => sqlite.ask('roundTrip', shape) },
              hedge('get', 1),
              hedge('get', 64),
              { name: 'isLeader', concurrency: 1, run: (shape) => leader.ask('isLeader', shape) },
              ...redis,
              ...etcd,
            ],
            plan,
          );
        }),
      ),
    ),
  );
}
