import { beforeAll, describe, expect, it } from '@jest/globals';
import { searchAll } from './search.js';
import { simulate } from './simulate.js';

/** All planted bugs show within 30 seeds. A short part of the search; `npm run sim -- --seeds N` runs more. */
const SEEDS = 100;

/** The events that a set of histories must contain, at least once per twenty seeds. */
const EXERCISED = [
  'election: won',
  'election: lost, expired',
  'election: lost, renew-deadline',
  'election: lost, resigned',
  'election: lost, stopped',
  'election: own address failed',
  'election: renewal announced',
  'database: failed before effect',
  'database: failed after effect',
  'database: late effect',
  'database: slow answer',
  'database: call during outage',
  'database: call while cut off',
  'fault: crash',
  'fault: pause',
  'fault: sleep',
  'fault: wall clock jumps',
  'fault: wall clock set ahead for one reading',
  'fault: database clock jumps',
  'fault: database replaced',
  'database: found to be another one',
  'fault: database went back',
  'database: lost a put that was acknowledged',
  'fault: partition',
  'fault: forged view',
  'network: dropped',
  'network: duplicated',
  'links: broken',
  'links: older one refused',
  'membership: view accepted',
  'membership: changes sent',
  'requests: sent again on a new link',
  'requests: ran again in a later term',
  'requests: handler hangs',
  'requests: ended the process that ran them',
  'requests: OUTCOME_UNKNOWN',
  'requests: LEASE_LOST',
  'requests: OVERLOADED',
  'requests: CONFLICT',
  'requests: CONFLICT of a transaction',
  'requests: transaction succeeded',
  'requests: a condition held',
  'requests: a condition on an overwritten row held',
  'requests: a key only checked',
  'requests: a key deleted',
  'requests: put after a deletion',
  'puts: several conditions in one transaction',
  'watches: delivered',
  'watches: a read failed',
  'watches: COMPACTED',
  'retention: deleted versions',
  'retention: deleted a tombstone',
  'retention: a sweep failed',
  'expiry: put',
  'expiry: deleted',
  'expiry: deleted for an owner that is gone',
  'expiry: found renewed',
  'expiry: rows trimmed',
  'reads: several keys in one call',
  'reads: a key left out',
  'reads: gave up',
  'semaphores: granted',
  'semaphores: not free',
  'semaphores: lost',
  'semaphores: DEADLINE_EXCEEDED',
  'semaphores: gave up',
  'semaphores: foreign release refused',
  'locks: released',
  'locks: taken',
  'locks: gave up',
  'locks: renewed together',
  'locks: lost, renew-deadline',
  'locks: lost, expired',
  'jobs: claimed again',
  'jobs: lost',
  'jobs: missed',
  'jobs: skipped',
  'jobs: runs-since-last-term',
  'jobs: clock-behind',
  'jobs: lost the record claimed',
  'jobs: lost the commit of a run',
  'jobs: failed again',
  'jobs: pause acknowledged',
  'jobs: pause failed',
  'jobs: resume acknowledged',
  'jobs: missed in a pause',
  'jobs: lost a change',
  'jobs: add acknowledged',
  'jobs: remove acknowledged',
  'jobs: begun anew',
  'jobs: new timetable',
  'jobs: new timetable again',
  'jobs: change refused',
  'jobs: trimmed',
  'jobs: runNow acknowledged',
  'jobs: runNow refused',
  'jobs: runNow failed',
  'jobs: runNow again',
  'jobs: ran in a pause',
  'jobs: append, failed',
  'jobs: append, unknown',
  'jobs: commit, failed',
  'jobs: commit, unknown',
  'transactions: ended when idle',
  'membership: successor named',
  'membership: handed over to version 2',
];

describe('simulation of whole clusters', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(
    `finds nothing in ${SEEDS} histories, which go through everything that can go wrong`,
    () => {
      const coverage = searchAll(SEEDS, simulate, '--seed');
      const rare = EXERCISED.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 20);
      expect(rare).toEqual([]);
    },
    30 * 60_000,
  );

  it('replays a seed exactly', () => {
    const [one, two] = [[], []] as string[][];
    simulate(7, undefined, (line) => one?.push(line));
    simulate(7, undefined, (line) => two?.push(line));
    expect(one?.length).toBeGreaterThan(100);
    expect(two).toEqual(one);
  });
});
