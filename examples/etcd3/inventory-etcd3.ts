import type { Etcd3, IKeyValue, Watcher } from 'etcd3';

/** How an inventory looks with the package `etcd3`. `inventory.service.ts` is the same with Hedge. */
export class Inventory {
  constructor(private readonly client: Etcd3) {}

  // #region put
  async set(item: string, count: number): Promise<void> {
    await this.client.put(`stock/${item}`).value(count);
  }

  async count(item: string): Promise<number> {
    return Number(await this.client.get(`stock/${item}`).string());
  }

  async counts(): Promise<Record<string, string>> {
    return await this.client.getAll().prefix('stock/').strings();
  }
  // #endregion

  // #region txn
  /** False when there is not enough. */
  async reserve(order: string, item: string, amount: number): Promise<boolean> {
    for (;;) {
      const stock = await this.#read(`stock/${item}`);
      const left = Number(stock?.value.toString() ?? 0) - amount;
      if (stock === undefined || left < 0) return false;
      const { succeeded } = await this.client
        .if(`stock/${item}`, 'Mod', '==', stock.mod_revision)
        .and(`orders/${order}`, 'Create', '==', 0)
        .then(this.client.put(`stock/${item}`).value(left), this.client.put(`orders/${order}`).value(amount))
        .commit();
      if (succeeded) return true;
      if ((await this.#read(`orders/${order}`)) !== undefined) return true; // reserved before
    }
  }
  // #endregion

  // #region watch
  /** Calls the function for each order, and once more when it is cancelled. */
  async follow(changed: (order: string, amount: number | undefined) => void): Promise<Watcher> {
    const watcher = await this.client.watch().prefix('orders/').create();
    watcher.on('put', ({ key, value }) => changed(key.toString().slice('orders/'.length), Number(value)));
    watcher.on('delete', ({ key }) => changed(key.toString().slice('orders/'.length), undefined));
    return watcher; // .cancel() ends it
  }
  // #endregion

  // #region lease
  /** Lists a station while this process runs. */
  async open(station: string, address: string): Promise<void> {
    const lease = this.client.lease(10); // renewed by the client until it is revoked
    await lease.put(`stations/${station}`).value(address);
  }

  /** Holds an item for ten minutes. */
  async hold(item: string, customer: string): Promise<void> {
    const lease = this.client.lease(600, { autoKeepAlive: false });
    await lease.put(`holds/${item}`).value(customer);
  }
  // #endregion

  async cancel(order: string): Promise<void> {
    await this.client.delete().key(`orders/${order}`);
  }

  async #read(key: string): Promise<IKeyValue | undefined> {
    return (await this.client.get(key).exec()).kvs[0];
  }
}
