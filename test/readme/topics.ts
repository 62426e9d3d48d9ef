import type { LeaderService } from 'nestjs-hedge';

// #region topics
declare module 'nestjs-hedge' {
  interface HedgeTopics {
    'invoice.total': { data: { lines: number[] }; reply: { total: number } };
  }
}
// #endregion

export async function total(leader: LeaderService) {
  const reply = await leader.send('invoice.total', { lines: [1, 2] });
  return reply.total;
}
