// `npm test`: everything that must hold, from a fresh clone to the last line `N passed, N failed`.
// Each static check counts as one, each Jest test as one.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, run } from '../scripts/workspace.mjs';
import { startWatch } from './leftovers.mjs';

const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const watch = startWatch();

try {
  check('packages installed', ensureInstalled);
  if (total.failed === 0) runAll();
} finally {
  watch.end();
}
for (const failure of failures) console.log(`FAILED ${failure}`);
if (total.skipped > 0) console.log(`${total.skipped} skipped`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

function runAll() {
  for (const script of ['build', 'types', 'lint', 'format'])
    check(script, () => run('npm', ['run', script], watch.env));
  // Whole pods on few cores share the machine with no other test.
  const severalProcesses = '/test/(backend|transport|deploy|e2e|packaging)/';
  jest('tests in one process', ['--maxWorkers=100%', '--testPathIgnorePatterns', '/node_modules/', severalProcesses]);
  jest('tests of several processes', ['--runInBand', '--testPathPatterns', severalProcesses]);
  check('no process left', () => assertNone(watch.processes()));
  check('no temp file left', () => assertNone(watch.files()));
  check('working tree as before', () => assertNone(watch.changes()));
}

function check(name, body) {
  const start = performance.now();
  try {
    body();
    total.passed += 1;
    report('ok', name, start);
  } catch (error) {
    total.failed += 1;
    failures.push(`${name}: ${error.message}`);
    report('FAILED', name, start);
  }
}

function jest(name, args) {
  const start = performance.now();
  const results = join(root, 'node_modules/.cache/jest-results.json');
  rmSync(results, { force: true });
  const cache = join(root, 'node_modules/.cache/jest');
  const flags = [`--cacheDirectory=${cache}`, '--json', `--outputFile=${results}`];
  const { status } = spawnSync('npm', ['run', '--silent', 'jest', '--', ...flags, ...args], {
    cwd: root,
    stdio: ['inherit', 'ignore', 'inherit'], // what is for people goes to stderr
    env: watch.env,
  });
  countTests(name, status, results);
  report(status === 0 ? 'ok' : 'FAILED', name, start);
}

function countTests(name, status, results) {
  let result;
  try {
    result = JSON.parse(readFileSync(results, 'utf8'));
  } catch (error) {
    total.failed += 1;
    failures.push(`${name}: Jest ended with ${status} and no result: ${error.message}`);
    return;
  }
  total.passed += result.numPassedTests;
  total.skipped += result.numPendingTests + result.numTodoTests;
  const failed = result.testResults
    .filter((file) => file.status === 'failed')
    .flatMap((file) => {
      const tests = file.assertionResults.filter((test) => test.status === 'failed').map((test) => test.fullName);
      return tests.length > 0 ? tests : [`${file.name} could not be run`];
    });
  if (status !== 0 && failed.length === 0) failed.push(`${name}: Jest ended with ${status}`);
  total.failed += failed.length;
  failures.push(...failed);
}

function assertNone(found) {
  if (found.length > 0) throw new Error(`${found.length}: ${found.join('; ')}`);
}

function report(verdict, name, start) {
  console.log(`${verdict} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
