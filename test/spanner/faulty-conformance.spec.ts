import { spanner } from 'nestjs-hedge/spanner';
import { backendConformance } from 'nestjs-hedge/testing';
import type { BackendFactory } from '../../libs/hedge/src/database/backend.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { openEmulator, TABLES } from './target.js';

let close: () => Promise<void>;

backendConformance({
  name: 'spanner, while transactions abort, answers get lost, sessions die and calls are slow,',
  createFactory: async () => {
    const target = await openEmulator();
    close = target.close;
    target.emulator.faults.set({
      abortRate: 0.05,
      sessionLossRate: 0.01,
      latencyMs: [0, 4],
      equalCommitTimestamps: true,
      rules: [
        { method: '*', code: 'UNAVAILABLE', when: 'before', rate: 0.03 },
        { method: 'ExecuteSql', code: 'UNAVAILABLE', when: 'after', rate: 0.02 },
        { method: 'Commit', code: 'UNAVAILABLE', when: 'after', rate: 0.1 },
        { method: 'ExecuteStreamingSql', code: 'UNAVAILABLE', when: 'during', rate: 0.1 },
      ],
    });
    return repeatsOverwrites(spanner({ database: target.database, ...TABLES }));
  },
  cleanUp: () => close(),
});

/**
 * Without `transactions`, which run on the user's client: it meets the faults too, and does not repeat all of them.
 * Retries an overwrite, as a caller may that accepts the same value twice. The driver itself must not.
 */
function repeatsOverwrites(factory: BackendFactory): BackendFactory {
  return {
    create(context) {
      const backend = factory.create(context);
      const overwrite = backend.log.overwrite.bind(backend.log);
      backend.log.overwrite = async (row, fence) => {
        for (;;) {
          try {
            return await overwrite(row, fence);
          } catch (error) {
            if (!(error instanceof HedgeError) || error.code !== 'OUTCOME_UNKNOWN') throw error;
          }
        }
      };
      return Object.assign(backend, { transactions: undefined });
    },
  };
}
