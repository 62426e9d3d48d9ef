import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Backend } from '../../database/backend.js';
import type { Fence } from '../../database/log-table.js';
import { callerKey } from '../../database/row-names.js';
import type { SemaphoreWrite, SemaphoreWriteResult } from '../../database/permit-table.js';
import { claimOf, newName, tokenOf } from './suite.js';

export function writeOf(parts: Partial<SemaphoreWrite> = {}): SemaphoreWrite {
  const base = { name: newName(), follows: 0n, limit: 2, value: 'value', holders: [], leader: '127.0.0.1:8080' };
  return { ...base, ...parts };
}

/** A lease that this client acquires for its writes. */
export async function lead(client: Backend): Promise<Fence> {
  const claim = claimOf(newName());
  return { lease: claim.name, token: tokenOf(await client.lease.acquire(claim)) };
}

/** An address that no other test uses, so that this test owns all its rows. */
export function newAddress(): string {
  return `${randomUUID()}:8080`;
}

export function timestampOf(result: SemaphoreWriteResult): bigint {
  assert.ok(result.written, 'the row should have been written');
  return result.timestamp;
}

/** The mirror row of the first holder in the write. */
export function mirrorOf(client: Backend, { holders }: SemaphoreWrite) {
  return client.log.latest(callerKey(holders[0]?.address ?? ''));
}
