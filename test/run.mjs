// `npm test`: every check of the repository, from a fresh clone to the last line `N passed, N failed`. Each static
// check counts as one, each Jest test as one. Progress and times are reported on stderr.
import { readFileSync, rmSync } from 'node:fs';
import { availableParallelism, constants } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { startProgress } from '../scripts/progress.mjs';
import { ensureInstalled, root, start } from '../scripts/workspace.mjs';
import { startWatch } from './leftovers.mjs';

/** The test files that only compute, and depend on no time. */
const COMPUTATIONS = '/test/(simulation/|jobs/time-zones)';

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
  const built = check('build', () => npmRun('build'));
  const computed = runComputations(built);
  await built;
  await runTests();
  const progress = startProgress(() => 'checks and tests that only compute');
  await computed;
  progress.stop();
  await check('no process left', () => assertNone(watch.processes()));
  await check('no temp file left', () => assertNone(watch.files()));
  await check('working tree as before', () => assertNone(watch.changes()));
}

/** The tests that wait for processes, servers and timers, which is most of the time. */
async function runTests() {
  // So there are more workers than cores.
  const moreThanCores = `--maxWorkers=${Math.ceil(availableParallelism() * 1.5)}`;
  // Tests of pods and servers that fail run one at a time on machines with few cores: a leader that gets no processor for
  // the length of its lease loses it, and three tours at once start dozens of pods.
  const faults =
    '/test/((chaos|proof)/|e2e/(demo/tour|failover)|postgres/(disk-full|driver|faults|fence-group|network|promotion)|transport/(out|stopped)|jobs/transactional|messaging/poison)';
  const processes =
    '/test/((backend|transport|e2e|upgrade|packaging|deploy|telemetry|postgres)/|jobs/crash|spanner/schema-command)';
  const ignored = ['--testPathIgnorePatterns', '/node_modules/', COMPUTATIONS];
  await jest('tests in one process', [moreThanCores, ...ignored, faults, processes]);
  await jest('tests of several processes', [moreThanCores, '--testPathPatterns', processes, ...ignored, faults]);
  await jest('tests of faults', ['--runInBand', '--testPathPatterns', faults]);
}

/** Computes while the tests wait. With a low priority, so that it delays none of them. */
async function runComputations(built) {
  const low = { priority: constants.priority.PRIORITY_LOW };
  const run = (script) => check(script, () => npmRun(script, low), low);
  for (const script of ['types', 'lint', 'format']) await run(script);
  await built;
  await run('api:check');
  // When the other tests have ended, these use all cores.
  const workers = `--maxWorkers=${availableParallelism()}`;
  // At low priority, a search gets little of the processor beside the other tests.
  const patient = `--testTimeout=${30 * 60_000}`;
  await jest('tests that only compute', [workers, patient, '--testPathPatterns', COMPUTATIONS], low);
}

async function npmRun(script, { priority } = {}) {
  const code = await start('npm', ['run', script], { env: watch.env, priority });
  if (code !== 0) throw new Error(`npm run ${script}: exit code ${code}`);
}

/** With a priority, it runs beside others, so that it shows no progress. */
async function check(name, body, { priority } = {}) {
  const startedAt = performance.now();
  const progress = priority === undefined ? startProgress(() => name) : undefined;
  try {
    await body();
    progress?.stop();
    total.passed += 1;
    report('ok', name, startedAt);
  } catch (error) {
    progress?.stop();
    total.failed += 1;
    failures.push(`${name}: ${error.message}`);
    report('FAILED', name, startedAt);
  }
}

/** With a priority, it runs beside others, so that its output comes at its end. */
async function jest(name, args, { priority } = {}) {
  const startedAt = performance.now();
  const beside = priority !== undefined;
  const caches = join(root, 'node_modules/.cache');
  const results = join(caches, `jest-results${beside ? '-beside' : ''}.json`);
  rmSync(results, { force: true });
  // Each run writes the durations of its files when it ends, over those of a run beside it.
  const cache = join(caches, `jest${beside ? '-beside' : ''}`);
  const flags = [`--cacheDirectory=${cache}`, '--json', `--outputFile=${results}`];
  // Jest writes its output for people to stderr, and draws its progress on a terminal.
  const files = { passed: 0, failed: 0 };
  const drawn = process.stderr.isTTY && !beside;
  const progress =
    drawn || beside ? undefined : startProgress(() => `${name}: ${files.passed} files passed, ${files.failed} failed`);
  let output = '';
  const onStderr = (text) => {
    files.passed += text.match(/^PASS /gm)?.length ?? 0;
    files.failed += text.match(/^FAIL /gm)?.length ?? 0;
    if (beside) output += text;
    else process.stderr.write(text);
  };
  const code = await start('npm', ['run', '--silent', 'jest', '--', ...flags, ...args], {
    env: watch.env,
    stdout: 'ignore',
    priority,
    ...(!drawn && { onStderr }),
  });
  progress?.stop();
  process.stderr.write(output);
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
      const tests = file.assertionResults.filter((test) => test.status === 'failed').map(describeFailure);
      return tests.length > 0 ? tests : [`${file.name} could not be run`];
    });
  if (status !== 0 && failed.length === 0) failed.push(`${name}: Jest ended with ${status}`);
  total.failed += failed.length;
  failures.push(...failed);
}

/** The name of a test and the beginning of its error, so that the last lines of a run say what failed. */
function describeFailure({ fullName, failureMessages }) {
  const [message = ''] = stripVTControlCharacters(failureMessages.join('\n')).split('\n    at ');
  return `${fullName}: ${message.replace(/\s*\n\s*/g, ' | ').slice(0, 1_000)}`;
}

function assertNone(found) {
  if (found.length > 0) throw new Error(`${found.length}: ${found.join('; ')}`);
}

function report(verdict, name, startedAt) {
  console.log(`${verdict} ${name} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
}
