/**
 * Contends for one lease with other processes: acquires it, renews it a few times, then releases it or stops as if
 * it had died, repeatedly. Reports, by the clock that all processes of a machine share, the time in which it
 * considered the lease its own.
 *
 * Usage: contender.ts DATABASE LEASE_NAME LEASE_MS, with the DATABASE of `backendAt`
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { backendAt } from './backend-at.js';

export interface Belief {
  readonly token: string;
  readonly incarnation: string;
  /** Milliseconds of the machine's monotonic clock. */
  readonly from: number;
  readonly until: number;
}

/** Its validity ends this long before the lease, as for every holder, because clocks run at different rates. */
const MARGIN_MS = 10;

const [database = '', name = '', leaseText = ''] = process.argv.slice(2);
const leaseMs = Number(leaseText);
const holder = { address: '127.0.0.1:8080', incarnation: randomUUID() };
const backend = backendAt(database, 2_000);

for (;;) {
  const start = now();
  const result = await unlessBusy(backend.lease.acquire({ name, holder, leaseMs }));
  if (result?.acquired !== true) {
    await sleep(Math.random() * Math.min(leaseMs / 4, (result?.record.expiresInMs ?? 0) + 1));
    continue;
  }
  await lead(result.token, start);
  await sleep(Math.random() * leaseMs);
}

async function lead(token: bigint, acquireStart: number): Promise<void> {
  const from = now();
  report(token, from, acquireStart + leaseMs - MARGIN_MS);
  for (let i = Math.floor(Math.random() * 4); i > 0; i--) {
    await sleep(leaseMs / 3);
    const start = now();
    const renewal = await unlessBusy(backend.lease.renew({ name, holder, token, leaseMs }));
    if (renewal?.renewed !== true) return;
    report(token, from, start + leaseMs - MARGIN_MS);
  }
  if (Math.random() < 0.5) return;
  report(token, from, now());
  await unlessBusy(backend.lease.release({ name, holder, token }));
}

/** Undefined when the database did not answer in time, as on a busy machine; its effect is then unknown. */
async function unlessBusy<Result>(call: Promise<Result>): Promise<Result | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof HedgeError && error.code === 'BACKEND_UNAVAILABLE') return undefined;
    throw error;
  }
}

/** Written at once, so that a kill does not lose it. */
function report(token: bigint, from: number, until: number): void {
  const belief: Belief = { token: String(token), incarnation: holder.incarnation, from, until };
  writeSync(1, `${JSON.stringify(belief)}\n`);
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
