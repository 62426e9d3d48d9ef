import { describe, expect, it } from '@jest/globals';
import type { PermitTable, SemaphoreWrite } from '../../database/permit-table.js';
import { memory } from '../../database/memory/index.js';
import { releaseWithoutLeader } from './last-release.js';
import { formatPermits, type GrantedPermit } from './permit-row.js';

const holder = { address: 'pod:1', incarnation: 'i' };
const lease = 'hedge/lease/g';

function permit(id: string): GrantedPermit {
  return { id, holder, permits: 1, permitMs: 1_000, token: 5n };
}

async function setUp(...ids: string[]) {
  const { lease: leases, permits: table } = memory().create({ timeoutMs: 1_000 });
  const taken = await leases.acquire({ name: lease, holder, leaseMs: 60_000 });
  if (!taken.acquired) throw new Error('the first acquisition must succeed');
  const { token } = taken;
  const value = formatPermits('g', ids.map(permit));
  const write: SemaphoreWrite = { name: 's', follows: 0n, limit: 2, value, holders: [], leader: 'pod:1' };
  await table.write(write, { lease, token });
  const held = async (): Promise<string | undefined> => (await table.read('s'))?.value;
  const release = (through: PermitTable = table): Promise<boolean> =>
    releaseWithoutLeader({ table: through, leases, group: 'g', address: () => 'pod:1' }, 's', new Set(['a']));
  return { leases, table, token, write, held, release };
}

describe('releaseWithoutLeader', () => {
  it('S3: removes the named permits, and no others', async () => {
    const { leases, token, held, release } = await setUp('a', 'b');
    await leases.release({ name: lease, holder, token });
    expect(await release()).toBe(true);
    expect(await held()).toBe(formatPermits('g', [permit('b')]));
    expect(await release()).toBe(true);
  });

  it('writes nothing while there is a leader', async () => {
    const { held, release } = await setUp('a');
    expect(await release()).toBe(false);
    expect(await held()).toBe(formatPermits('g', [permit('a')]));
  });

  it('S1: fails when a leader is elected between its read and its write', async () => {
    const { leases, table, token, held, release } = await setUp('a');
    await leases.release({ name: lease, holder, token });
    const elected: PermitTable = {
      read: (name) => table.read(name),
      write: async (write, fence) => {
        await leases.acquire({ name: lease, holder: { ...holder, incarnation: 'next' }, leaseMs: 60_000 });
        return table.write(write, fence);
      },
    };
    await expect(release(elected)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await held()).toBe(formatPermits('g', [permit('a')]));
  });

  it('S1: keeps what another pod has written since the read', async () => {
    const { leases, table, token, held, release } = await setUp('a');
    await leases.release({ name: lease, holder, token });
    let raced = false;
    const racing: PermitTable = {
      read: (name) => table.read(name),
      write: async (write, fence) => {
        const value = formatPermits('g', ['a', 'c'].map(permit));
        if (!raced) await table.write({ ...write, value }, fence);
        raced = true;
        return table.write(write, fence);
      },
    };
    expect(await release(racing)).toBe(true);
    expect(await held()).toBe(formatPermits('g', [permit('c')]));
  });
});
