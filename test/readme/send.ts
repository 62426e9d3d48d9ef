import { HedgeError, type LeaderService } from 'nestjs-hedge';

export async function quote(leader: LeaderService, requestClosed: AbortSignal) {
  // #region send
  try {
    const { total } = await leader.send<{ total: number }>(
      'price',
      { qty: 2 },
      { timeoutMs: 2_000, signal: requestClosed },
    );
    return total;
  } catch (error) {
    if (error instanceof HedgeError && error.retryable) return undefined; // nothing was done: try later
    throw error;
  }
  // #endregion
}
