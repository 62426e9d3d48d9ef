import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { spanner } from 'nestjs-hedge/spanner';
import { applyDdl } from '../../libs/hedge/src/database/spanner/client/google-client.js';
import type { Calls } from '../../libs/hedge/src/database/spanner/client/protocol.js';
import { claimOf, rowOf } from '../spanner/rows.js';
import { openEmulator, TABLE_DDL } from '../spanner/target.js';

/** All that the driver can call: the type check fails when it learns another. */
const CALLS: Readonly<Record<Capitalize<keyof Calls> | 'ExecuteStreamingSql', true>> = {
  CreateSession: true,
  ExecuteSql: true,
  ExecuteStreamingSql: true,
  Read: true,
  Commit: true,
  Rollback: true,
};

const GUIDE = readFileSync(new URL('../../docs/deploy-gke.md', import.meta.url), 'utf8');

/** What the guide's table says that each call needs. */
const NEEDED = new Map(
  [...GUIDE.matchAll(/^\| `(\w+)` +\|(.*)\|$/gm)].map(([, call = '', needs = '']) => [
    call,
    needs.match(/spanner\.\w+\.\w+/g) ?? [],
  ]),
);
/** What the guide's role grants. */
const GRANTED = /--permissions=\\\n((?:.*,\\\n)*.*)\n/.exec(GUIDE)?.[1]?.match(/spanner\.\w+\.\w+/g) ?? [];

describe('the role of the pods in docs/deploy-gke.md', () => {
  let target: Awaited<ReturnType<typeof openEmulator>>;

  beforeAll(async () => {
    target = await openEmulator({ ddl: [] });
  });

  afterAll(() => target.close());

  it('grants what the calls of the driver need, and nothing else', () => {
    expect([...NEEDED.keys()].sort()).toEqual(Object.keys(CALLS).sort());
    expect([...GRANTED].sort()).toEqual([...new Set([...NEEDED.values()].flat())].sort());
  });

  it('is for calls that are all made; the schema command makes others, as who runs it', async () => {
    const { counters } = target.emulator;
    await applyDdl(target.database, TABLE_DDL);
    // Spanner takes longer, and is asked by GetOperation whether it is done.
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
