import { describe, expect, it } from '@jest/globals';
import { memory, memoryDatabase } from '../backends/memory/index.js';
import { groupSecret } from './group-secret.js';

const context = { timeoutMs: 1_000 };

describe('group secret', () => {
  it('is the same for all pods of a group, whoever comes first', async () => {
    const database = memoryDatabase();
    const logs = [1, 2, 3].map(() => memory({ database }).create(context).log);
    const secrets = await Promise.all(logs.map((log, i) => groupSecret(log, 'orders', `pod-${i}:1`)));
    expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(1);
    expect(secrets[0]).toHaveLength(32);
    expect(await groupSecret(memory({ database }).create(context).log, 'orders', 'late:1')).toEqual(secrets[0]);
  });

  it('is another one for another group', async () => {
    const { log } = memory().create(context);
    expect(await groupSecret(log, 'orders', 'a:1')).not.toEqual(await groupSecret(log, 'billing', 'a:1'));
  });
});
