import { Injectable } from '@nestjs/common';
import { type LockService, WithLock } from 'nestjs-hedge';

interface Order {
  readonly id: string;
}
declare function writeInvoices(fencingToken: bigint, signal: AbortSignal): Promise<void>;
declare function sweep(): Promise<void>;

export async function lockInvoices(locks: LockService) {
  // #region use
  // Waits at most 5 s for the lock, and releases it when the function returns or throws.
  await locks.use('invoices/2026-01', { timeoutMs: 5_000 }, async ({ signal, fencingToken }) => {
    await writeInvoices(fencingToken, signal);
  });

  const { ran } = await locks.tryUse('sweep', () => sweep()); // only if it is free
  const holder = await locks.holder('sweep'); // { member, fencingToken, expiresInMs }, or undefined
  // #endregion
  return { ran, holder };
}

// #region decorator
@Injectable()
export class ShippingService {
  @WithLock((order: Order) => `orders/${order.id}`, { timeoutMs: 2_000 })
  async ship(order: Order) {
    console.log('no other pod ships', order.id, 'now');
  }
}
// #endregion
