import { describe, expect, it } from '@jest/globals';
import { Cluster } from './cluster.js';
import { SOUND_PARTS } from './simulate.js';

const SEEDS = 30;
const SETTLED_WITHIN = 9_000;

describe('a lone pod that restarts on its machine', () => {
  it(`leads when the lease of its last process has ended, on SQLite, in ${SEEDS} histories`, () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const cluster = new Cluster(seed, SOUND_PARTS, { database: 'file', pods: 1 });
      const { world, random, timing } = cluster;
      const [machine] = cluster.machines;
      const run = (until: number): void => world.runUntil(until, () => cluster.check());
      cluster.startPod(machine!);
      run(SETTLED_WITHIN + random.between(0, timing.leaseMs));
      const [killed] = cluster.pods();
      expect(killed?.believes).toBe(true);
      const killedAt = world.now;
      killed!.die();
      run(killedAt + random.between(0.6, 0.9) * timing.leaseMs);
      cluster.startPod(machine!);
      // The rates of clocks, and the time between two reads.
      run(killedAt + 1.35 * timing.leaseMs);
      expect([seed, cluster.pods().map(({ believes }) => believes)]).toEqual([seed, [true]]);
    }
  });
});
