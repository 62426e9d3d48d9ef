// @ts-check
// A Nest app, run by Node alone: an empty one, or one with HedgeModule. It reports the time to load the packages, and its
// resident memory once it has served for a while.
import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const SETTLE_MS = 5_000;
const { BENCH_ADDRESS: address = '', BENCH_FILE: file = '', BENCH_BACKEND: backend } = process.env;

const start = performance.now();
const hedge = backend === undefined ? undefined : await import('nestjs-hedge');
const importMs = performance.now() - start;

class AppModule {}
Module({ imports: hedge === undefined ? [] : [await hedgeModule(hedge.HedgeModule)] })(AppModule);

const app = await NestFactory.create(AppModule, { logger: ['error'] });
await app.listen(0, '127.0.0.1');
await sleep(SETTLE_MS);
process.send?.({ importMs, rss: process.memoryUsage.rss() });

/** @param {typeof import('nestjs-hedge').HedgeModule} HedgeModule */
async function hedgeModule(HedgeModule) {
  const factory =
    backend === 'sqlite'
      ? (await import('nestjs-hedge/sqlite')).sqlite({ file })
      : (await import('nestjs-hedge/memory')).memory();
  return HedgeModule.forRoot({ group: 'bench', address, timing: 'local', backend: factory });
}
