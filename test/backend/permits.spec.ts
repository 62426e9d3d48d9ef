import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { ARENAS, type Arena } from './arenas.js';
import { backendAt } from './backend-at.js';
import type { PermitChange } from './permit-writer.js';
import { Script, until } from './processes.js';

const WRITERS = 3;
const KILLS = 2;
const SEMAPHORE = 'semaphore';

let arena: Arena;
let backend: Backend;
let writers: Script<PermitChange>[];

beforeEach(() => {
  writers = [];
});

afterEach(async () => {
  for (const writer of writers) await writer.kill();
  await backend.close();
  await arena.close();
});

function start(token: bigint): void {
  writers.push(new Script('./permit-writer.ts', [arena.database, SEMAPHORE, 'lease', String(token)]));
}

async function takeLease(): Promise<bigint> {
  const holder = { address: 'a:1', incarnation: randomUUID() };
  const { holder: before, token } = await backend.lease.read('lease');
  if (before !== undefined) await backend.lease.release({ name: 'lease', holder: before, token });
  const result = await backend.lease.acquire({ name: 'lease', holder, leaseMs: 600_000 });
  if (!result.acquired) throw new Error('the lease is free');
  return result.token;
}

const changesOf = (writer: Script<PermitChange>) => writer.events.filter((event) => 'change' in event);

describe('the row of a semaphore among processes', () => {
  it.each(Object.keys(ARENAS))(
    'S1 %s loses no change, takes none twice, and takes none under a token once another was given',
    async (where) => {
      arena = await (ARENAS[where] as () => Promise<Arena>)();
      backend = backendAt(arena.database, 10_000);
      const token = await takeLease();
      for (let i = 0; i < WRITERS; i++) start(token);
      for (let kill = 0; kill < KILLS; kill++) {
        const victim = writers[kill] as Script<PermitChange>;
        await until('a writer writes', 30_000, () => changesOf(victim).length >= 5);
        await victim.kill();
        start(token);
      }
      const survivors = writers.slice(KILLS);
      await until('all write', 30_000, () => survivors.every((writer) => changesOf(writer).length >= 5));
      const next = await takeLease();
      const atTheEnd = await backend.permits.read(SEMAPHORE);
      await until('all see it', 30_000, () =>
        survivors.every((writer) => writer.events.some((event) => 'ended' in event)),
      );
      expect(writers.map(({ complaints }) => complaints).join('')).toBe('');

      expect(await backend.permits.read(SEMAPHORE)).toEqual(atTheEnd);
      expect(atTheEnd?.timestamp).toBeLessThan(next);
      const stored = atTheEnd?.value.split(' ') ?? [];
      expect(new Set(stored).size).toBe(stored.length);
      const acknowledged = writers.flatMap(changesOf);
      expect(acknowledged.length).toBeGreaterThanOrEqual(5 * (WRITERS + KILLS));
      expect(stored).toEqual(expect.arrayContaining(acknowledged.map(({ change }) => change)));
      // Only the last change of each process may lack its acknowledgement, because the process was killed first.
      expect(stored.length - acknowledged.length).toBeLessThanOrEqual(writers.length);
      const query = { limit: 9, order: 'oldest-first' } as const;
      expect(await backend.log.history(`__hedge/semaphore/${SEMAPHORE}`, query)).toHaveLength(1);
    },
    120_000,
  );
});
