/**
 * A pod with transactional jobs on PostgreSQL. It injects one fault, at a step of a run, when that step was reached so often.
 *
 * Usage: transactional-pod.ts URL JOBS FAULT COUNT [BUG]
 */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeModule, LeaderInterval, type Backend, type BackendFactory, type TransactionalJobRun } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { Client, Pool } from 'pg';
import type { Bug, Fault } from './transactional.spec.js';

const [url = '', jobs = '1', fault = '', count = '1', planted = ''] = process.argv.slice(2);
const bug: Bug = 'done row apart from the work';
let left = Number(count);

/** Whether the fault happens now. */
function reached(step: Fault): boolean {
  if (step !== fault) return false;
  left -= 1;
  return left === 0;
}

function killedAt(step: Fault): void {
  if (reached(step)) process.kill(process.pid, 'SIGKILL');
}

/** The parent resumes the process. */
async function stoppedAt(step: Fault): Promise<void> {
  if (!reached(step)) return;
  await new Promise((resolve) => process.send?.('stopped', resolve));
  process.kill(process.pid, 'SIGSTOP');
}

/** The driver, with faults around its calls. */
function faulty(factory: BackendFactory): BackendFactory {
  return {
    create(context) {
      const backend: Backend = factory.create(context);
      const { lease, log, permits, transactions } = backend;
      return {
        name: backend.name,
        lease,
        permits,
        log: {
          append: async (rows, fence) => {
            const claims = rows.filter(({ id }) => id.endsWith('claim'));
            for (const _ of claims) killedAt('killed before the claim');
            const appended = log.append(rows, fence);
            for (const _ of claims) if (reached('killed during the claim')) setTimeout(kill, Math.random() * 3);
            const outcomes = await appended;
            for (const _ of claims) killedAt('killed after the claim');
            return outcomes;
          },
          latest: async (key) => {
            const entry = await log.latest(key);
            if (entry?.id.endsWith('outcome') === true) killedAt('killed after the read of the ledger');
            return entry;
          },
          appendIf: (rows, fence) => log.appendIf(rows, fence),
          overwrite: (row, fence) => log.overwrite(row, fence),
          changes: (query) => log.changes(query),
          lastTimestamp: (prefix) => log.lastTimestamp(prefix),
          history: (key, query) => log.history(key, query),
          keys: (query) => log.keys(query),
        },
        transactions: transactions && {
          fence: (tx, fence) => transactions.fence(tx, fence),
          fencePermit: (tx, permit) => transactions.fencePermit(tx, permit),
          run: (source, work, last) => transactions.run(source, work, last),
          append: async (tx, row, fence) => {
            if (planted === bug) await log.append([row], fence);
            else await transactions.append(tx, row, fence);
            killedAt('killed after the append');
            await stoppedAt('stopped after the append');
          },
        },
        open: () => backend.open(),
        close: () => backend.close(),
      };
    },
  };
}

function kill(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** The pool of the app, with faults around COMMIT. */
class FaultyClient extends Client {
  override query(...given: unknown[]): never {
    const call = (super.query as (...all: unknown[]) => unknown).bind(this);
    if (given[0] !== 'COMMIT') return call(...given) as never;
    if (reached('disconnected during the commit')) this.#disconnect();
    const committed = call(...given) as Promise<unknown>;
    if (reached('killed during the commit')) setTimeout(kill, Math.random() * 2);
    return committed.then((result) => {
      killedAt('killed after the commit');
      return result;
    }) as never;
  }

  /** Before or after the server has received COMMIT, and again later. */
  #disconnect(): void {
    const { stream } = (this as unknown as { connection: { stream: { destroy(): void } } }).connection;
    if (Math.random() < 0.5) stream.destroy();
    else setTimeout(() => stream.destroy(), Math.random() * 2);
    left = Number(count);
    process.send?.('disconnected');
  }
}

const pool = new Pool({ connectionString: url, max: 6, Client: FaultyClient });

class Counter {
  async count({ fireTime, attempt, transaction }: TransactionalJobRun, job: string): Promise<void> {
    await transaction(pool, async (tx) => {
      await tx.query('INSERT INTO counted (job, firing, attempt) VALUES ($1, $2, $3)', [job, fireTime, attempt]);
      killedAt('killed in the work');
      await stoppedAt('stopped in the work');
    });
  }
}

for (let index = 0; index < Number(jobs); index += 1) {
  const name = `job ${index}`;
  const method = function (this: Counter, run: TransactionalJobRun): Promise<void> {
    return this.count(run, name);
  };
  Object.defineProperty(Counter.prototype, name, { value: method, writable: true, configurable: true });
  const descriptor = Object.getOwnPropertyDescriptor(Counter.prototype, name) as PropertyDescriptor;
  const options = { name, transactional: true, graceMs: 3_600_000 };
  LeaderInterval(1_000, options)(Counter.prototype, name, descriptor);
}

const backend = faulty(postgres({ connectionString: url }));

@Module({
  imports: [HedgeModule.forRoot({ group: 'counted', address: '127.0.0.1:0', timing: 'local', backend })],
  providers: [Counter],
})
class PodModule {}

await NestFactory.createApplicationContext(PodModule, { logger: ['error', 'warn'] });
