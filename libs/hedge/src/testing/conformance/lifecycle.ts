import assert from 'node:assert/strict';
import { claimOf, newName, rejectsWith, rowOf, type Suite } from './suite.js';

export function lifecycleConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('open and close', () => {
    it('open can be repeated', async () => {
      const client = await suite.client();
      await client.open();
      await Promise.all([client.open(), client.open()]);
      assert.equal(await client.log.latest(newName()), undefined);
    });

    it('close can be repeated, and later calls fail with BACKEND_UNAVAILABLE', async () => {
      const client = await suite.client();
      await client.close();
      await client.close();
      await rejectsWith('BACKEND_UNAVAILABLE', client.lease.read(newName()));
      await rejectsWith('BACKEND_UNAVAILABLE', client.lease.acquire(claimOf(newName())));
      await rejectsWith('BACKEND_UNAVAILABLE', client.log.append([rowOf(newName())]));
      await rejectsWith('BACKEND_UNAVAILABLE', client.log.latest(newName()));
      const { latestOf } = client.log;
      if (latestOf) await rejectsWith('BACKEND_UNAVAILABLE', latestOf.call(client.log, [newName(), newName()]));
      await rejectsWith('BACKEND_UNAVAILABLE', client.permits.read(newName()));
    });

    it('closing one client does not disturb another', async () => {
      const [one, two] = [await suite.client(), await suite.client()];
      await one.close();
      const row = rowOf(newName());
      await two.log.append([row]);
      assert.equal((await two.log.latest(row.key))?.value, row.value);
    });

    it('the backend has a name for log lines', async () => {
      assert.ok((await suite.client()).name.length > 0);
    });
  });
}
