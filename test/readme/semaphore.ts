import type { SemaphoreService } from 'nestjs-hedge';
import { writeReport } from './reports.js';

export async function report(semaphores: SemaphoreService) {
  // #region use
  await semaphores.use('reports', { limit: 2 }, async ({ signal, fencingToken }) => {
    await writeReport({ signal, fencingToken }); // two at a time, on all pods together
  });
  // #endregion
}

export async function acquire(semaphores: SemaphoreService) {
  // #region acquire
  const reports = semaphores.get('reports', { limit: 2 });
  const permit = await reports.acquire({ permits: 1, timeoutMs: 60_000 });
  try {
    await writeReport(permit);
  } finally {
    await permit.release();
  }
  const { ran } = await reports.tryUse((permit) => writeReport(permit)); // only if one is free now
  const holders = await reports.holders(); // [{ id, member, permits, fencingToken }]
  await reports.resize(3); // now each `get` and `use` must give { limit: 3 }; `reports` itself continues
  // #endregion
  return { ran, holders };
}
