import { Column, Entity, type EntityManager, PrimaryColumn } from 'typeorm';

/** The highest fencing token of all writes to the data that `name` protects. */
@Entity()
export class Fence {
  @PrimaryColumn({ type: 'varchar', length: 100 })
  name!: string;

  /** Digits with leading zeros, so that every database compares the texts as numbers. */
  @Column({ type: 'varchar', length: 20 })
  token!: string;
}

export class StaleLeaderError extends Error {}

/**
 * Makes a transaction fail unless this token is the highest so far. Call it first in the transaction: it locks the row,
 * so that no other leader commits in between.
 */
export async function raiseFence(manager: EntityManager, name: string, fencingToken: bigint): Promise<void> {
  const token = fencingToken.toString().padStart(20, '0');
  await manager
    .createQueryBuilder()
    .insert()
    .into(Fence)
    .values({ name, token: '0'.repeat(20) })
    .orIgnore()
    .execute();
  await manager
    .createQueryBuilder()
    .update(Fence)
    .set({ token })
    .where('name = :name AND token <= :token', { name, token })
    .execute();
  const fence = await manager.findOneByOrFail(Fence, { name });
  if (fence.token !== token) {
    throw new StaleLeaderError(`The fence "${name}" has token ${fence.token}, above ${token}: another pod leads.`);
  }
}
