import { writeFile } from 'node:fs/promises';
import { startProgress } from '../../scripts/progress.mjs';
import { parseOptions, USAGE, UsageError, type BenchOptions, type Plan, type SuiteName } from './options.js';
import { describeMachine, formatRows, formatVerdicts } from './report.js';
import { broadcastSuite } from './suites/broadcast.js';
import { failoverSuite } from './suites/failover.js';
import { kvSuite } from './suites/kv.js';
import { memorySuite } from './suites/memory.js';
import { postgresSuite } from './suites/postgres.js';
import { scaleSuite } from './suites/scale.js';
import { sendSuite } from './suites/send.js';
import { semaphoreSuite } from './suites/semaphore.js';
import { spannerSuite } from './suites/spanner.js';
import { spillSuite } from './suites/spill.js';
import { spillRemoteSuite } from './suites/spill-remote.js';
import { startupSuite } from './suites/startup.js';
import { streamSuite } from './suites/streams.js';
import { telemetrySuite } from './suites/telemetry.js';
import { watchSuite } from './suites/watch.js';
import { judge, type AnyRow } from './targets.js';

const RUN: Readonly<Record<SuiteName, (plan: Plan, url: string | undefined) => Promise<AnyRow[]>>> = {
  send: sendSuite,
  broadcast: broadcastSuite,
  kv: kvSuite,
  watch: watchSuite,
  semaphore: semaphoreSuite,
  streams: streamSuite,
  spill: async (plan) => [...(await spillSuite(plan)), ...(await spillRemoteSuite(plan))],
  postgres: postgresSuite,
  spanner: spannerSuite,
  failover: failoverSuite,
  memory: memorySuite,
  telemetry: telemetrySuite,
  startup: startupSuite,
  scale: scaleSuite,
};

async function bench({ plan, suites, json, url }: BenchOptions): Promise<void> {
  console.log(`${describeMachine()}\n`);
  const rows: AnyRow[] = [];
  for (const suite of suites) {
    console.error(`measuring ${suite} …`);
    const progress = startProgress(() => `measuring ${suite} (${suites.indexOf(suite) + 1} of ${suites.length})`);
    try {
      rows.push(...(await RUN[suite](plan, url)));
    } catch (error) {
      progress.pause();
      // The results of the other suites are still useful.
      console.error(`${suite} could not be measured:`, error);
      process.exitCode = 1;
    } finally {
      progress.stop();
    }
  }
  console.log(`\n${formatRows(rows)}\n`);
  console.log(formatVerdicts(judge(rows)));
  if (json !== undefined) await writeFile(json, `${JSON.stringify(rows, undefined, 2)}\n`);
}

try {
  await bench(parseOptions(process.argv.slice(2)));
} catch (error) {
  // An error in the arguments needs no stack; other errors do.
  console.error(error instanceof UsageError ? `${error.message}\n${USAGE}` : error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
