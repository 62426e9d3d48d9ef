import { describe, expect, it } from '@jest/globals';
import type { LogTable } from '../database/log-table.js';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { groupSecret, groupSecrets, KeptSecret } from './group-secret.js';

const context = { timeoutMs: 1_000 };

describe('group secret', () => {
  it('is the same for all pods of a group, in any order of start', async () => {
    const database = memoryDatabase();
    const logs = [1, 2, 3].map(() => memory({ database }).create(context).log);
    const secrets = await Promise.all(logs.map((log, i) => groupSecret(log, 'orders', `pod-${i}:1`)));
    expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(1);
    expect(secrets[0]).toHaveLength(32);
    expect(await groupSecret(memory({ database }).create(context).log, 'orders', 'late:1')).toEqual(secrets[0]);
  });

  it('differs between groups', async () => {
    const { log } = memory().create(context);
    expect(await groupSecret(log, 'orders', 'a:1')).not.toEqual(await groupSecret(log, 'billing', 'a:1'));
  });

  describe('of a running pod', () => {
    const clock = new VirtualClock();

    function keeper(log: LogTable, writes = true) {
      const warnings: string[] = [];
      const logger = { warn: (line: string) => void warnings.push(line) };
      const kept = new KeptSecret({ log, group: 'orders', writes, clock, retryMs: 100, logger });
      return { kept, warnings };
    }

    /** A log that loses its rows when `replace` is called. */
    function replaceable() {
      const faults = new BackendFaults();
      const fresh = () => faulty(memory(), faults, clock).create(context).log;
      let log = fresh();
      const table: LogTable = {
        append: (...args) => log.append(...args),
        appendIf: (...args) => log.appendIf(...args),
        overwrite: (...args) => log.overwrite(...args),
        latest: (...args) => log.latest(...args),
        history: (...args) => log.history(...args),
        keys: (...args) => log.keys(...args),
        changes: (...args) => log.changes(...args),
        lastTimestamp: (...args) => log.lastTimestamp(...args),
      };
      return { table, faults, replace: () => void (log = fresh()) };
    }

    it('is read once, and again only after a failure', async () => {
      const { table, faults } = replaceable();
      let reads = 0;
      const { kept } = keeper({ ...table, latest: (key) => ((reads += 1), table.latest(key)) });
      faults.outage = true;
      await expect(kept.get('a:1')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      faults.outage = false;
      expect(await kept.get('a:1')).toEqual(await kept.get('a:1'));
      expect(reads).toBe(2);
    });

    it('is read by a client, which writes none and keeps none that it has not read', async () => {
      const { table, replace } = replaceable();
      const { kept } = keeper(table, false);
      expect(await kept.get('')).not.toEqual(await kept.get(''));
      expect(await table.keys({ prefix: '', limit: 10 })).toEqual([]);
      const secret = await groupSecret(table, 'orders', 'a:1');
      expect(await kept.get('')).toEqual(secret);
      replace();
      expect(await kept.get('')).toEqual(secret);
      await kept.restore('');
      expect(await kept.get('')).not.toEqual(secret);
      expect(await table.keys({ prefix: '', limit: 10 })).toEqual([]);
    });

    it('is written back when the database was replaced, so that new pods can join', async () => {
      const { table, faults, replace } = replaceable();
      const { kept, warnings } = keeper(table);
      const secret = await kept.get('a:1');
      replace();
      faults.outage = true;
      const restored = kept.restore('a:1');
      await clock.advanceAsync(1_000);
      faults.outage = false;
      await clock.advanceAsync(1_000);
      await restored;
      expect(await groupSecret(table, 'orders', 'new:1')).toEqual(secret);
      expect(warnings).toEqual([expect.stringMatching(/group orders was replaced.*wrote the group's secret back/)]);
      await kept.restore('a:1');
      expect(await kept.get('a:1')).toEqual(secret);
    });

    it('is replaced by the secret that another pod wrote first to the new database', async () => {
      const { table, replace } = replaceable();
      const { kept, warnings } = keeper(table);
      await kept.get('a:1');
      replace();
      const another = await groupSecret(table, 'orders', 'new:1');
      await kept.restore('a:1');
      expect(await kept.get('a:1')).toEqual(another);
      expect(warnings).toEqual([expect.stringContaining('adopted the secret')]);
    });
  });
});

/** The secrets of such an option, with this secret in the backend. */
async function secretsOf(...option: string[]): Promise<string[]> {
  const secrets = await groupSecrets(option, async () => Buffer.from('in the backend'));
  return secrets instanceof Uint8Array ? [] : secrets.map(String);
}

const outage = (): Promise<Buffer> => Promise.reject(new Error('read'));

describe('the option `secret`', () => {
  it('returns its secrets in order, with the secret of the backend at the place of `stored`', async () => {
    expect(await secretsOf('stored')).toEqual(['in the backend']);
    expect(await secretsOf('stored', 'new')).toEqual(['in the backend', 'new']);
    expect(await secretsOf('new', 'stored')).toEqual(['new', 'in the backend']);
  });

  it('does not read the backend if it does not name the stored secret', async () => {
    expect(await groupSecrets(['new'], outage)).toEqual([Buffer.from('new')]);
    await expect(groupSecrets(['new', 'stored'], outage)).rejects.toThrow('read');
  });
});
