import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import Database from 'libsql';
import { lockName } from '../../libs/hedge/src/database/row-names.js';
import { memory } from '../../libs/hedge/src/database/memory/index.js';
import { sqlite } from '../../libs/hedge/src/database/sqlite/index.js';

const NAMES = 100_000;
const BATCH = 1_000;
/** Allows a few megabytes of garbage and code; a record of each name took 34 MB. */
const GROWTH = 12 * 2 ** 20;

/** The statement of docs/locks.md. */
const CLEANING = "DELETE FROM locktable WHERE name LIKE 'hedge/lock/%' AND writer IS NULL";

const directory = mkdtempSync(join(tmpdir(), 'hedge-names-'));
afterAll(() => rmSync(directory, { recursive: true }));

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapUsed(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

describe.each([
  ['memory', () => memory()],
  ['sqlite', () => sqlite({ file: join(directory, 'names.db') })],
])('the lease table of %s', (_, factory) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = factory().create({ timeoutMs: 30_000 });
    await backend.open();
  });
  afterAll(() => backend.close());

  it('keeps no memory of names that were only read', async () => {
    const look = async (from: number, to: number): Promise<void> => {
      for (let start = from; start < to; start += BATCH) {
        const names = Array.from({ length: BATCH }, (_empty, index) => lockName('g', `order ${start + index}`));
        await Promise.all(names.map((name) => backend.lease.read(name)));
      }
    };
    await look(0, BATCH);
    const before = heapUsed();
    await look(BATCH, NAMES);
    expect(heapUsed() - before).toBeLessThan(GROWTH);
  });
});

describe('rows of free locks in the lock table of sqlite', () => {
  it('are deleted in docs/locks.md by the statement that this test runs', () => {
    expect(readFileSync('docs/locks.md', 'utf8')).toContain(CLEANING);
  });

  it('L1: can be deleted in SQL: held locks stay held, and tokens keep rising', async () => {
    const file = join(directory, 'clean.db');
    const backend = sqlite({ file }).create({ timeoutMs: 30_000 });
    await backend.open();
    const holder = { address: 'a:1', incarnation: 'a' };
    const take = async (name: string): Promise<bigint> => {
      const taken = await backend.lease.acquire({ name, holder, leaseMs: 60_000 });
      return taken.acquired ? taken.token : 0n;
    };
    const names = Array.from({ length: 100 }, (_, index) => lockName('g', `order ${index}`));
    const tokens = await Promise.all(names.map(take));
    await Promise.all(
      names.slice(1).map((name, index) => backend.lease.release({ name, holder, token: tokens[index + 1]! })),
    );
    const election = await take('hedge/lease/g');
    await backend.lease.release({ name: 'hedge/lease/g', holder, token: election });
    const database = new Database(file);
    expect(database.prepare(CLEANING).run().changes).toBe(99);
    database.close();
    const renewed = await backend.lease.renew({ name: names[0]!, holder, token: tokens[0]!, leaseMs: 60_000 });
    expect(renewed).toEqual({ renewed: true });
    expect((await backend.lease.read('hedge/lease/g')).token).toBe(election);
    expect(await take(names[1]!)).toBeGreaterThan(election);
    await backend.close();
  });
});
