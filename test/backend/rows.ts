import { randomUUID } from 'node:crypto';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { LeaseClaim } from '../../libs/hedge/src/database/lease-table.js';
import type { Fence, LogAppend } from '../../libs/hedge/src/database/log-table.js';

export function claimOf(name: string = randomUUID(), leaseMs = 60_000): LeaseClaim {
  return { name, holder: { address: '127.0.0.1:8080', incarnation: randomUUID() }, leaseMs };
}

export function rowOf(key: string, value = 'value', id: string = randomUUID()): LogAppend {
  return { key, id, value, leader: '127.0.0.1:8080' };
}

/** Acquires a free lease, as another member each time. */
export async function acquireFence(
  backend: Backend,
  lease: string = randomUUID(),
): Promise<Fence & { readonly release: () => Promise<unknown> }> {
  const claim = claimOf(lease);
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been free');
  const { token } = result;
  return { lease, token, release: () => backend.lease.release({ ...claim, token }) };
}

/** The fence of a holder that has a successor. */
export async function staleFence(backend: Backend): Promise<Fence> {
  const holder = await acquireFence(backend);
  await holder.release();
  await acquireFence(backend, holder.lease);
  return holder;
}
