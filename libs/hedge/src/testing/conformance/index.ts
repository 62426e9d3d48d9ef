import { leaseConformance } from './lease.js';
import { lifecycleConformance } from './lifecycle.js';
import { logConformance } from './log.js';
import { permitRowConformance } from './permit-rows.js';
import { permitConformance } from './permits.js';
import { renewAllConformance } from './renew-all.js';
import { Suite, type BackendConformance, type TestRunner } from './suite.js';

export type { BackendConformance, TestRunner } from './suite.js';

/**
 * Registers one test for every sentence of the contracts in `backend/`, for any driver. Call it at the top of
 * a test file; it needs no more of the test runner than `TestRunner` names.
 *
 * @example
 * backendConformance({ name: 'sqlite', createFactory: () => sqlite({ file: join(folder, 'hedge.db') }) });
 */
export function backendConformance(conformance: BackendConformance): void {
  const runner = conformance.runner ?? (globalThis as unknown as TestRunner);
  runner.describe(`${conformance.name} keeps the backend contract`, () => {
    const suite = new Suite(conformance, runner);
    lifecycleConformance(suite);
    leaseConformance(suite);
    renewAllConformance(suite);
    logConformance(suite);
    permitConformance(suite);
    permitRowConformance(suite);
  });
}
