import { expiryConformance } from './expiry.js';
import { leaseConformance } from './lease.js';
import { lifecycleConformance } from './lifecycle.js';
import { logConformance } from './log.js';
import { permitRowConformance } from './permit-rows.js';
import { permitConformance } from './permits.js';
import { renewAllConformance } from './renew-all.js';
import { Suite, type BackendConformance, type TestRunner } from './suite.js';
import { transactionConformance } from './transactions.js';

export type { BackendConformance, TestRunner } from './suite.js';
export type { ConformanceApplication } from './transactions.js';

/**
 * Registers the tests of the contracts in `database/` for any driver. Call it at the top level of a test file. It uses
 * only the functions of the test runner that `TestRunner` names.
 *
 * @example
 * backendConformance({ name: 'sqlite', createFactory: () => sqlite({ file: join(folder, 'hedge.db') }) });
 */
export function backendConformance(conformance: BackendConformance): void {
  const runner = conformance.runner ?? (globalThis as unknown as TestRunner);
  runner.describe(`${conformance.name} fulfils the backend contract`, () => {
    const suite = new Suite(conformance, runner);
    lifecycleConformance(suite);
    leaseConformance(suite);
    renewAllConformance(suite);
    logConformance(suite);
    expiryConformance(suite);
    permitConformance(suite);
    permitRowConformance(suite);
    transactionConformance(suite);
  });
}
