/**
 * Adds changes to the row of one semaphore without end: reads it, and writes it with one more change.
 * Reports each acknowledged change, and ends when another process has acquired the lease.
 *
 * Usage: permit-writer.ts DATABASE SEMAPHORE LEASE_NAME TOKEN, with the DATABASE of `backendAt`
 */
import { writeSync } from 'node:fs';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { backendAt } from './backend-at.js';

/** An acknowledged change. The last event of a process has the reason of its end instead. */
export type PermitChange = { readonly change: string; readonly timestamp: string } | { readonly ended: 'LEASE_LOST' };

const [database = '', name = '', lease = '', token = ''] = process.argv.slice(2);
const backend = backendAt(database, 5_000);
const fence = { lease, token: BigInt(token) };

for (let i = 0; ; i++) {
  const timestamp = await add(`${process.pid}.${i}`);
  if (timestamp === undefined) break;
  report({ change: `${process.pid}.${i}`, timestamp: String(timestamp) });
}
report({ ended: 'LEASE_LOST' });
await backend.close();

/** @returns the version in which the change was seen; undefined when the lease is lost. */
async function add(change: string): Promise<bigint | undefined> {
  for (;;) {
    try {
      const row = await backend.permits.read(name);
      const changes = row === undefined ? [] : row.value.split(' ');
      if (row !== undefined && changes.includes(change)) return row.timestamp;
      const limit = 1 + (changes.length % 3);
      const value = [...changes, change].join(' ');
      const holders = [{ address: `p${process.pid}`, value: change }];
      const write = { name, follows: row?.timestamp ?? 0n, limit, value, holders, leader: `p${process.pid}` };
      const result = await backend.permits.write(write, fence);
      if (result.written) return result.timestamp;
    } catch (error) {
      if (!(error instanceof HedgeError)) throw error;
      if (error.code === 'LEASE_LOST') return undefined;
      // The outcome is unknown: the next read of the row shows it.
      if (error.code !== 'BACKEND_UNAVAILABLE') throw error;
    }
  }
}

/** Written at once, so that a kill does not lose it. */
function report(event: PermitChange): void {
  writeSync(1, `${JSON.stringify(event)}\n`);
}
