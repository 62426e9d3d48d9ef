// Makes a recording of the rows that a version writes: a pod of the sources in a folder does a little of everything on a
// SQLite file, and is killed in the middle of it. The clock should be in the past, since rows of the future mean other things.
//
// Usage: record-rows.ts ROOT DATABASE ROWS_SQL
import { writeFileSync } from 'node:fs';
import Database from 'libsql';
import { loader, podOf } from './pod-of.js';

const [root = '', file = '', output = ''] = process.argv.slice(2);
const { intervalTimes } =
  await loader(root)<typeof import('../../libs/hedge/src/jobs/fire-times.js')>('jobs/fire-times.ts');
const pod = await podOf(root, file);

let runs = 0;
let thirdRuns = (): void => undefined;
const third = new Promise<void>((resolve) => (thirdRuns = resolve));
pod.jobs.start([
  {
    place: 'Reports.tick',
    times: intervalTimes(1_000),
    options: { name: 'tick' },
    call: () => {
      runs += 1;
      if (runs === 2) throw new Error('the second run fails');
      if (runs === 3) {
        thirdRuns();
        return new Promise(() => undefined);
      }
      return undefined;
    },
  },
]);
await pod.start();

await pod.kv.put('rates/eur', '1.07');
await pod.kv.put('rates/eur', '1.08');
await pod.kv.put('rates/usd', "it's £1, or \u{1f4b7}");
await pod.kv.put('settings', '{"a":1}', { append: false });
await pod.kv.put('settings', '{"a":2}', { append: false });
await pod.semaphores.get('reports', { limit: 3 }).acquire({ permits: 2 });
await pod.locks.acquire('invoices');
await (await pod.locks.acquire('free')).release();
await third;

const lines: string[] = [];
const database = new Database(file);
const names = (sql: string): string[] => (database.prepare(sql).all() as { name: string }[]).map(({ name }) => name);
for (const { sql } of database
  .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'")
  .all() as { sql: string }[]) {
  lines.push(`${sql.replaceAll(/\s+/g, ' ')};`);
}
for (const table of names("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")) {
  const columns = names(`SELECT name FROM pragma_table_info('${table}')`);
  const values = columns.map((column) => `quote(${column})`).join(` || ', ' || `);
  for (const row of names(`SELECT ${values} AS name FROM ${table}`)) {
    lines.push(`INSERT INTO ${table} (${columns.join(', ')}) VALUES (${row});`);
  }
}
writeFileSync(output, `${lines.join('\n')}\n`);
process.kill(process.pid, 'SIGKILL');
