import type { Transaction } from './client.js';

export class StaleLeaderError extends Error {}

/**
 * Makes a transaction fail unless this token is the highest so far. Call it first in the transaction: it locks the row,
 * so that no other leader commits in between.
 */
export async function raiseFence(tx: Transaction, name: string, fencingToken: bigint): Promise<void> {
  await tx.fence.createMany({ data: { name, token: 0n }, skipDuplicates: true });
  const { count } = await tx.fence.updateMany({
    where: { name, token: { lte: fencingToken } },
    data: { token: fencingToken },
  });
  if (count === 0) {
    throw new StaleLeaderError(`The fence "${name}" has a token above ${fencingToken}: another pod leads.`);
  }
}
