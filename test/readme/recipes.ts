import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { ClusterService, KvStore, type Leadership, LockService, WhileLeader } from 'nestjs-hedge';

export abstract class Controller {
  abstract step(fencingToken: bigint, signal: AbortSignal): Promise<void>;
}

// #region election
@Injectable()
export class Reconciler {
  constructor(private readonly controller: Controller) {}

  @WhileLeader() // one pod at a time; the next leader gets a higher token
  async run({ signal, fencingToken }: Leadership) {
    while (!signal.aborted) await this.controller.step(fencingToken, signal);
  }
}
// #endregion

export async function migrate(locks: LockService, kv: KvStore, run: (fencingToken: bigint) => Promise<void>) {
  // #region lock
  await locks.use('migrate', { timeoutMs: 60_000 }, async ({ fencingToken }) => {
    if ((await kv.get('migrated')) !== undefined) return;
    await run(fencingToken);
    await kv.put('migrated', 'yes');
  });
  // #endregion
}

// #region barrier
@Injectable()
export class Barrier {
  constructor(private readonly kv: KvStore) {}

  /** Resolves when `count` different participants have arrived. Use each name once, for example with a release number. */
  async arrive(name: string, participant: string, count: number, signal: AbortSignal) {
    await this.kv.put(`barriers/${name}/${participant}`, new Date().toISOString());
    while ((await this.kv.keys(`barriers/${name}/`, { limit: count, signal })).length < count) {
      await setTimeout(250, undefined, { signal });
    }
  }
}
// #endregion

export abstract class Printer {
  abstract print(id: string, text: string, signal: AbortSignal): Promise<void>;
}

// #region queue
@Injectable()
export class PrintQueue {
  constructor(
    private readonly kv: KvStore,
    private readonly printer: Printer,
  ) {}

  /** On any pod. The item is durable when this resolves. */
  async add(text: string) {
    return (await this.kv.put('prints', text)).id;
  }

  @WhileLeader() // one consumer, in the order of the commits
  async consume({ signal, fencingToken }: Leadership) {
    let after = await this.kv.getJson<{ version: string; id: string }>('prints-done');
    while (!signal.aborted) {
      const items = await this.kv.history('prints', { order: 'oldest-first', ...(after && { after }), signal });
      for (const { id, version, value } of items) {
        await this.printer.print(id, value, signal); // may see one id twice, after a crash
        after = { id, version: String(version) };
        await this.kv.putJson('prints-done', after, { append: false, fenced: fencingToken });
      }
      if (items.length === 0) await setTimeout(250, undefined, { signal });
    }
  }
}
// #endregion

// #region membership
@Injectable()
export class Shards {
  constructor(private readonly cluster: ClusterService) {}

  /** Whether this pod serves a key: rendezvous hashing, so that few keys move when a pod joins or leaves. */
  isMine(key: string) {
    const [owner] = this.cluster
      .members()
      .map(({ address }) => ({ address, score: createHash('sha256').update(`${address} ${key}`).digest('hex') }))
      .sort((a, b) => (a.score < b.score ? 1 : -1));
    return owner?.address === this.cluster.self.address;
  }
}
// #endregion
