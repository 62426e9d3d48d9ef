import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { spanner } from 'nestjs-hedge/spanner';
import { applyDdl } from '../../libs/hedge/src/database/spanner/client/google-client.js';
import type { Calls } from '../../libs/hedge/src/database/spanner/client/protocol.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { openEmulator, TABLE_DDL } from '../spanner/target.js';

/** All calls of the driver. The type check fails when the driver gets another call. */
const CALLS: Readonly<Record<Capitalize<keyof Calls> | 'ExecuteStreamingSql', true>> = {
  CreateSession: true,
  ExecuteSql: true,
  ExecuteStreamingSql: true,
  Read: true,
  Commit: true,
  Rollback: true,
};

const GUIDE = readFileSync(new URL('../../docs/deploy-gke.md', import.meta.url), 'utf8');

/** The permissions of each call in the table of the guide. */
const NEEDED = new Map(
  [...GUIDE.matchAll(/^\| `(\w+)` +\|(.*)\|$/gm)].map(([, call = '', needs = '']) => [
    call,
    needs.match(/spanner\.\w+\.\w+/g) ?? [],
  ]),
);
/** The permissions of the role in the guide. */
const GRANTED = /--permissions=\\\n((?:.*,\\\n)*.*)\n/.exec(GUIDE)?.[1]?.match(/spanner\.\w+\.\w+/g) ?? [];

describe('the role of the pods in docs/deploy-gke.md', () => {
  let target: Awaited<ReturnType<typeof openEmulator>>;

  beforeAll(async () => {
    target = await openEmulator({ ddl: [] });
  });

  afterAll(() => target.close());

  it('grants exactly the permissions that the calls of the driver need', () => {
    expect([...NEEDED.keys()].sort()).toEqual(Object.keys(CALLS).sort());
    expect([...GRANTED].sort()).toEqual([...new Set([...NEEDED.values()].flat())].sort());
  });

  it('covers only calls that are made; the schema command uses the permissions of its user', async () => {
    const { counters } = target.emulator;
    await applyDdl(target.database, TABLE_DDL);
    // Spanner takes longer, so GetOperation polls for the result.
    expect(Object.keys(counters().calls)).toEqual(['UpdateDatabaseDdl']);
    expect(GUIDE).toMatch(/`spanner\.databases\.updateDdl` and\s+`spanner\.databaseOperations\.get`/);

    const backend = spanner({ database: target.database }).create({ timeoutMs: 5_000 });
    const row = rowOf('k');
    await backend.lease.acquire(claimOf());
    for (let times = 0; times < 2; times++) await backend.log.append([row]); // nothing to commit the second time
    await backend.log.history('k', { limit: 9, order: 'oldest-first' });
    const made = Object.keys(counters().calls).filter((call) => !/Operation|Ddl/.test(call));
    expect(made.sort()).toEqual(Object.keys(CALLS).sort());
    await backend.close();
  });
});
