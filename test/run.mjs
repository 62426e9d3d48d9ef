// `npm test`: every check of the repository, from a fresh clone to the last line `N passed, N failed`. Each static
// check counts as one, each Jest test as one. Progress and times are reported on stderr.
import { readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { startProgress } from '../scripts/progress.mjs';
import { ensureInstalled, root, start } from '../scripts/workspace.mjs';
import { startWatch } from './leftovers.mjs';

const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const watch = startWatch();

try {
  await check('packages installed', ensureInstalled);
  if (total.failed === 0) await runAll();
} finally {
  watch.end();
}
for (const failure of failures) console.log(`FAILED ${failure}`);
if (total.skipped > 0) console.log(`${total.skipped} skipped`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

async function runAll() {
  await Promise.all([checkScripts('build', 'api:check'), checkScripts('types', 'lint', 'format')]);
  // Most tests wait longer than they compute, so there are more workers than cores.
  const moreThanCores = `--maxWorkers=${Math.ceil(availableParallelism() * 1.5)}`;
  // Tests of pods and servers that fail run alone on machines with few cores.
  const faults = '/test/((chaos|proof|postgres)/|transport/(out|stopped)|jobs/transactional|messaging/poison)';
  const processes =
    '/test/((backend|transport|e2e|upgrade|packaging|deploy|telemetry)/|jobs/crash|spanner/schema-command)';
  const ignored = ['--testPathIgnorePatterns', '/node_modules/'];
  await jest('tests in one process', [moreThanCores, ...ignored, faults, processes]);
  await jest('tests of several processes', ['--maxWorkers=2', '--testPathPatterns', processes, ...ignored, faults]);
  await jest('tests of faults', ['--runInBand', '--testPathPatterns', faults]);
  await check('no process left', () => assertNone(watch.processes()));
  await check('no temp file left', () => assertNone(watch.files()));
  await check('working tree as before', () => assertNone(watch.changes()));
}

async function checkScripts(...scripts) {
  for (const script of scripts) await check(script, () => npmRun(script));
}

async function npmRun(script) {
  const code = await start('npm', ['run', script], { env: watch.env });
  if (code !== 0) throw new Error(`npm run ${script}: exit code ${code}`);
}

async function check(name, body) {
  const startedAt = performance.now();
  const progress = startProgress(() => name);
  try {
    await body();
    progress.stop();
    total.passed += 1;
    report('ok', name, startedAt);
  } catch (error) {
    progress.stop();
    total.failed += 1;
    failures.push(`${name}: ${error.message}`);
    report('FAILED', name, startedAt);
  }
}

async function jest(name, args) {
  const startedAt = performance.now();
  const results = join(root, 'node_modules/.cache/jest-results.json');
  rmSync(results, { force: true });
  const cache = join(root, 'node_modules/.cache/jest');
  const flags = [`--cacheDirectory=${cache}`, '--json', `--outputFile=${results}`];
  // Jest writes its output for people to stderr, and draws its progress on a terminal.
  const files = { passed: 0, failed: 0 };
  const progress = process.stderr.isTTY
    ? undefined
    : startProgress(() => `${name}: ${files.passed} files passed, ${files.failed} failed`);
  const onStderr = (text) => {
    files.passed += text.match(/^PASS /gm)?.length ?? 0;
    files.failed += text.match(/^FAIL /gm)?.length ?? 0;
    process.stderr.write(text);
  };
  const code = await start('npm', ['run', '--silent', 'jest', '--', ...flags, ...args], {
    env: watch.env,
    stdout: 'ignore',
    ...(progress !== undefined && { onStderr }),
  });
  progress?.stop();
  countTests(name, code, results);
  report(code === 0 ? 'ok' : 'FAILED', name, startedAt);
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

function report(verdict, name, startedAt) {
  console.log(`${verdict} ${name} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
}
