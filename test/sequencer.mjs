// Starts the longest test files first, so that no worker runs one of them alone at the end of a phase. Jest knows only the
// durations of earlier runs, of which a fresh clone has none.
import Sequencer from '@jest/test-sequencer';

/** Test files that take more than 20 s, the longest first. */
export const LONGEST = [
  'test/packaging/packaging.spec.ts',
  'test/transport/strangers.spec.ts',
  'test/e2e/demo/tour-spanner.spec.ts',
  'test/e2e/demo/tour-postgres.spec.ts',
  'test/e2e/demo/tour-sqlite.spec.ts',
  'test/deploy/image.spec.ts',
  'test/e2e/failover.spec.ts',
  'test/simulation/simulation.spec.ts',
  'test/e2e/stall.spec.ts',
  'test/cli/holders.spec.ts',
  'test/spanner/conformance.spec.ts',
  'test/backend/lease.spec.ts',
  'test/backend/permits.spec.ts',
  'test/spill/model.spec.ts',
  'test/spanner/faulty-conformance.spec.ts',
  'test/simulation/planted.spec.ts',
  'test/simulation/planted-log.spec.ts',
  'test/simulation/large-groups.spec.ts',
  'test/postgres/conformance.spec.ts',
  'test/telemetry/tracing.spec.ts',
  'test/cli/lock.spec.ts',
  'test/nest/inspection.spec.ts',
  'test/cli/group.spec.ts',
  'test/nest/idle-calls.spec.ts',
  'test/upgrade/rolling-update.spec.ts',
  'test/jobs/time-zones.spec.ts',
  'libs/hedge/src/database/postgres/pglite.spec.ts',
  'libs/hedge/src/database/sqlite/conformance.spec.ts',
];

function rank({ path }) {
  const index = LONGEST.findIndex((file) => path.endsWith(file));
  return index === -1 ? LONGEST.length : index;
}

export default class extends Sequencer {
  sort(tests) {
    return super.sort(tests).toSorted((a, b) => rank(a) - rank(b));
  }
}
