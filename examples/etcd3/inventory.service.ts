import { Injectable } from '@nestjs/common';
import { HedgeError, KvStore } from 'nestjs-hedge';

/** The inventory of `inventory-etcd3.ts`, with Hedge. */
@Injectable()
export class InventoryService {
  constructor(private readonly kv: KvStore) {}

  // #region put
  async set(item: string, count: number): Promise<void> {
    await this.kv.put(`stock/${item}`, String(count));
  }

  async count(item: string): Promise<number> {
    return Number((await this.kv.get(`stock/${item}`))?.value ?? 0);
  }

  async counts(): Promise<Record<string, string>> {
    const entries = await this.kv.entries('stock/', { limit: Infinity });
    return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
  }
  // #endregion

  // #region txn
  /** False when there is not enough. */
  async reserve(order: string, item: string, amount: number): Promise<boolean> {
    for (;;) {
      const stock = await this.kv.get(`stock/${item}`);
      const left = Number(stock?.value ?? 0) - amount;
      if (stock === undefined || left < 0) return false;
      try {
        await this.kv.transaction([
          { put: `stock/${item}`, value: String(left), ifVersion: stock },
          { put: `orders/${order}`, value: String(amount), ifAbsent: true },
        ]);
        return true;
      } catch (error) {
        if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') throw error;
        if (await this.kv.get(`orders/${order}`)) return true; // reserved before
      }
    }
  }
  // #endregion

  // #region watch
  /** Calls the function for each order, and once more when it is cancelled, until the signal aborts: then it rejects with CANCELLED. */
  async follow(changed: (order: string, amount: number | undefined) => void, signal: AbortSignal): Promise<void> {
    for await (const { key, value, deleted } of this.kv.watch('orders/', { signal })) {
      changed(key.slice('orders/'.length), deleted ? undefined : Number(value));
    }
  }
  // #endregion

  // #region lease
  /** Lists a station while this process runs. */
  async open(station: string, address: string): Promise<void> {
    await this.kv.put(`stations/${station}`, address, { whileAlive: true });
  }

  /** Holds an item for ten minutes. */
  async hold(item: string, customer: string): Promise<void> {
    await this.kv.put(`holds/${item}`, customer, { ttlMs: 600_000 });
  }
  // #endregion

  async cancel(order: string): Promise<void> {
    await this.kv.delete(`orders/${order}`);
  }
}
