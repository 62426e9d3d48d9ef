// Records the rows that this version writes: a pod uses every feature on a SQLite file, and is killed while it runs.
// Run it on the build, with a clock in the past (libfaketime), because rows with a time in the future have another
// meaning.
//
// Usage: node --import tsx test/upgrade/record-rows.ts DATABASE ROWS_SQL
import 'reflect-metadata';
import { writeFileSync } from 'node:fs';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import Database from 'libsql';
import { HedgeModule, KvStore, LeaderInterval, LockService, SemaphoreService } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';

const [file = '', output = ''] = process.argv.slice(2);

let runs = 0;
let thirdRuns = (): void => undefined;
const third = new Promise<void>((resolve) => (thirdRuns = resolve));

@Injectable()
class Reports {
  @LeaderInterval(1_000, { name: 'tick' })
  async tick() {
    runs += 1;
    if (runs === 2) throw new Error('the second run fails');
    if (runs < 3) return;
    thirdRuns();
    await new Promise(() => undefined);
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({ group: 'upgrade', address: '127.0.0.1:0', timing: 'local', backend: sqlite({ file }) }),
  ],
  providers: [Reports],
})
class PodModule {}

const app = await NestFactory.createApplicationContext(PodModule, { logger: false });
const kv = app.get(KvStore);
const locks = app.get(LockService);

await kv.put('rates/eur', '1.07');
await kv.put('rates/eur', '1.08');
await kv.put('rates/usd', "it's £1, or \u{1f4b7}");
await kv.put('settings', '{"a":1}', { append: false });
await kv.put('settings', '{"a":2}', { append: false });
await app.get(SemaphoreService).get('reports', { limit: 3 }).acquire({ permits: 2 });
await locks.acquire('invoices');
await (await locks.acquire('free')).release();
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
