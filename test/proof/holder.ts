// A process that holds a lock while it writes a row. `schedule.ts` starts two of them, and says what to do, line by line.
import 'reflect-metadata';
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import Redlock from 'redlock';
import { HedgeError, HedgeModule, LockService } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import type { Command, LockKind, StopPoint, Urls } from './schedule.js';

const [writer = '', texts = '{}'] = process.argv.slice(2);
const urls = JSON.parse(texts) as Urls;
const redisServers = urls.redis.map((url) => new Redis(url));

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'proof',
      address: '127.0.0.1:0',
      timing: 'local',
      backend: postgres({ connectionString: urls.leases }),
    }),
  ],
})
class HolderModule {}

const app = await NestFactory.createApplicationContext(HolderModule, { logger: false, abortOnError: false });
const locks = app.get(LockService);
/** The one in progress. */
let command: Command = { run: '', lock: 'lease', stop: undefined };
let committed = false;

// #region write
/** Writes one row. At the point that the schedule names, the process stops, as in a long garbage collection. */
async function write(tx: Client, resource: string, fence?: (tx: Client) => Promise<void>) {
  stopIf('before its transaction');
  await tx.query('BEGIN');
  await tx.query('INSERT INTO writes (resource, writer) VALUES ($1, $2)', [resource, writer]);
  await fence?.(tx);
  stopIf('before its commit');
  await tx.query('COMMIT');
  tellCommitted();
}
// #endregion

/** Each waits for its lock, and writes while it holds the lock. */
const WORK: Readonly<Record<LockKind, (tx: Client, resource: string) => Promise<void>>> = {
  async Redlock(tx, resource) {
    // #region redlock
    const redlock = new Redlock(redisServers, { retryCount: 15 });
    await redlock.using([resource], 1_000, async (signal) => {
      if (signal.aborted) throw signal.error;
      await write(tx, resource);
    });
    // #endregion
  },

  async pg_advisory_lock(tx, resource) {
    // #region advisory
    await tx.query('SELECT pg_advisory_lock(hashtext($1))', [resource]);
    await write(tx, resource);
    await tx.query('SELECT pg_advisory_unlock(hashtext($1))', [resource]);
    // #endregion
  },

  async lease(tx, resource) {
    // #region lease
    await locks.use(resource, { timeoutMs: Infinity }, async (lock) => {
      lock.signal.throwIfAborted();
      await write(tx, resource);
    });
    // #endregion
  },

  async 'fenced lease'(tx, resource) {
    // #region fenced
    await locks.use(resource, { timeoutMs: Infinity }, async (lock) => {
      lock.signal.throwIfAborted();
      await write(tx, resource, lock.fence);
    });
    // #endregion
  },
};

function tellCommitted(): void {
  committed = true;
  report('committed');
}

/** The kernel stops all threads of this process, until it receives SIGCONT. */
function stopIf(point: StopPoint): void {
  if (command.stop !== point) return;
  report('stops');
  process.kill(process.pid, 'SIGSTOP');
}

/** Stops when `lock.fence` has checked the lock in this process, and sends its statement. */
function stopInFence(tx: Client): void {
  const query = tx.query.bind(tx) as (...args: unknown[]) => unknown;
  tx.query = ((...args: unknown[]) => {
    if (String(args[0]).includes('FOR KEY SHARE')) stopIf('in the fence');
    return query(...args);
  }) as Client['query'];
}

/** At once, also when the process stops right after. */
function report(what: string): void {
  writeSync(1, `${what}\n`);
}

report('ready');
for await (const line of createInterface({ input: process.stdin })) {
  command = JSON.parse(line) as Command;
  committed = false;
  // Through the pooler, if there is one.
  const tx = new Client({ connectionString: urls.transactions });
  tx.on('error', () => undefined);
  stopInFence(tx);
  await tx.connect();
  try {
    await WORK[command.lock](tx, command.run);
  } catch (error) {
    // After the commit only the release has failed: of a lock that another process has.
    if (!committed) report(error instanceof HedgeError ? error.code : 'session ended');
  } finally {
    await tx.end();
  }
}
