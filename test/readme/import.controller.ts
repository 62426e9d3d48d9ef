import { Controller } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { type ClusterService, HedgeContext, type LeaderService, OnBroadcastStream, OnLeaderStream } from 'nestjs-hedge';

export interface Row {
  readonly id: string;
}

// #region handlers
@Controller()
export class ImportController {
  @OnLeaderStream('import') // runs on the leader, once for each stream
  async *import(@Payload() rows: AsyncIterable<Row>, @Ctx() ctx: HedgeContext) {
    for await (const row of rows) {
      if (row.id !== '') yield { stored: row.id, by: String(ctx.fencingToken) };
    }
  }

  @OnBroadcastStream('warm-up') // runs on every pod
  async warmUp(@Payload() keys: AsyncIterable<string>) {
    let loaded = 0;
    for await (const _ of keys) loaded += 1;
    return { loaded };
  }
}
// #endregion

export async function importAll(leader: LeaderService, readRows: () => AsyncIterable<Row>): Promise<string[]> {
  const imported: string[] = [];
  // #region send
  for await (const { stored } of leader.sendStream<{ stored: string }>('import', readRows())) {
    imported.push(stored); // may arrive before all rows are read
  }
  // #endregion
  return imported;
}

export async function warmUpAll(cluster: ClusterService, keys: Iterable<string>): Promise<number> {
  let total = 0;
  // #region broadcast
  for await (const event of cluster.broadcastStream<{ loaded: number }>('warm-up', keys)) {
    if (event.type === 'reply') total += event.value.loaded;
    else if (event.error) console.warn(event.member.address, event.error.message);
  }
  // #endregion
  return total;
}
