// @ts-check
// A Nest app, run by Node alone: an empty one, or one with HedgeModule. It reports the time to load the packages, and its
// resident memory once it has served for a while.
import 'reflect-metadata';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const SETTLE_MS = 5_000;
const { BENCH_ADDRESS: address = '', BENCH_FILE: file = '', BENCH_BACKEND: backend } = process.env;

const start = performance.now();
if (backend === 'threads') await openInThreads();
const hedge = backend === undefined || backend === 'threads' ? undefined : await import('nestjs-hedge');
const importMs = performance.now() - start;

class AppModule {}
Module({ imports: hedge === undefined ? [] : [await hedgeModule(hedge.HedgeModule)] })(AppModule);

const app = await NestFactory.create(AppModule, { logger: ['error'] });
await app.listen(0, '127.0.0.1');
await sleep(SETTLE_MS);
process.send?.({ importMs, rss: process.memoryUsage.rss() });

/** Two threads that each open the database, as the driver for SQLite needs them. */
async function openInThreads() {
  const libsql = createRequire(import.meta.url).resolve('libsql');
  const script = `const Database = require(${JSON.stringify(libsql)});
    const database = new Database(${JSON.stringify(file)});
    database.pragma('journal_mode = WAL');
    setInterval(() => database.prepare('SELECT * FROM sqlite_master').all(), 1_000);`;
  for (let count = 0; count < 2; count += 1) await once(new Worker(script, { eval: true }), 'online');
}

/** @param {typeof import('nestjs-hedge').HedgeModule} HedgeModule */
async function hedgeModule(HedgeModule) {
  const factory =
    backend === 'sqlite'
      ? (await import('nestjs-hedge/sqlite')).sqlite({ file })
      : (await import('nestjs-hedge/memory')).memory();
  return HedgeModule.forRoot({ group: 'bench', address, timing: 'local', backend: factory });
}
