import type { ClusterService } from 'nestjs-hedge';

export async function flushAll(cluster: ClusterService) {
  // #region broadcast
  const replies = await cluster.broadcast<{ flushed: boolean }>('flush', {}, { timeoutMs: 1_000 });
  for (const { member, value, error, ms } of replies) {
    console.log(member.address, error?.code ?? value, `${ms} ms`);
  }
  // #endregion

  // #region broadcast-each
  for await (const { member, value } of cluster.broadcast<{ flushed: boolean }>('flush', {})) {
    console.log('so far:', member.address, value);
  }
  // #endregion
}
