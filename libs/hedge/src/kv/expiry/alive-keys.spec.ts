import { beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import { EXPIRED_SUFFIX, type LogEntry } from '../../database/log-table.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { toKvEntry, type KvEntry } from '../kv-entry.js';
import { AliveKeys } from './alive-keys.js';

const SELF = { address: 'a:1', incarnation: 'a' };
const LEADER = { address: 'l:1', incarnation: 'l' };
const MINUTE = 60_000;

let clock: VirtualClock;
/** The newest row of each key. */
let rows: Map<string, LogEntry>;
let time: bigint;
let reads: number;
/** The ids of all attempts. */
let puts: string[];
let removed: string[];
/** Runs during each read. */
let onRead: () => void;
/** What happens to a put. */
let onPut: (done: () => KvEntry) => KvEntry;
let keys: AliveKeys;

beforeEach(() => {
  clock = new VirtualClock();
  rows = new Map();
  time = 100n;
  reads = 0;
  puts = [];
  removed = [];
  onRead = () => undefined;
  onPut = (done) => done();
  let ids = 0;
  keys = new AliveKeys({
    clock,
    random: () => 1,
    newId: () => `again-${(ids += 1)}`,
    newest: (key) => {
      reads += 1;
      const row = rows.get(key);
      onRead();
      return Promise.resolve(row);
    },
    put: ({ key, id, value }, newest) => {
      puts.push(id);
      const done = (): KvEntry => {
        if (rows.get(key)?.id !== newest?.id) throw new HedgeError('CONFLICT', 'simulated');
        return write(key, id, value);
      };
      return new Promise((resolve) => resolve(onPut(done)));
    },
    remove: (key, { id }) => Promise.resolve(removed.push(`${key} ${id}`)),
  });
});

function write(key: string, id: string, value = ''): KvEntry {
  const row = { key, id, value, leader: 'l:1', timestamp: (time += 1n) };
  rows.set(key, row);
  return toKvEntry(row);
}

/** The leader deletes a key, because it does not hear this process. */
function expire(key: string): void {
  write(key, rows.get(key)!.id + EXPIRED_SUFFIX);
}

function view(version: number, { listed = true, epoch = 7n } = {}): void {
  keys.viewChanged({ epoch, version, members: listed ? [SELF, LEADER] : [LEADER] }, SELF);
}

/** This process comes back after it was cut off. */
async function returns(): Promise<void> {
  view(1, { listed: false });
  view(2);
  await clock.advanceAsync(3_000);
}

describe('the keys of a process', () => {
  it('are put again when it comes back and the leader has deleted them', async () => {
    view(1);
    keys.keep(write('k', 'p1', 'v'));
    keys.keep(write('l', 'p2', 'w'));
    expire('k');
    await returns();
    expect(rows.get('k')).toMatchObject({ id: 'again-1', value: 'v' });
    expect(rows.get('l')).toMatchObject({ id: 'p2' });
    await keys.end();
    expect(removed).toEqual(['k again-1', 'l p2']);
  });

  it('are read when it was absent from a view or another pod leads, and else each minute', async () => {
    keys.keep(write('k', 'p1'));
    view(5);
    await clock.advanceAsync(3_000);
    expect(reads).toBe(1);
    view(6);
    view(7);
    await clock.advanceAsync(3_000);
    expect(reads).toBe(1);
    view(9);
    await clock.advanceAsync(3_000);
    expect(reads).toBe(2);
    view(10, { listed: false });
    view(11);
    await clock.advanceAsync(3_000);
    expect(reads).toBe(3);
    view(1, { epoch: 8n });
    await clock.advanceAsync(3_000);
    expect(reads).toBe(4);
    await clock.advanceAsync(10 * MINUTE);
    expect(reads).toBe(14);
  });

  it('are put again when the leader has deleted them after it came back', async () => {
    keys.keep(write('k', 'p1', 'v'));
    await returns();
    expire('k');
    await clock.advanceAsync(MINUTE);
    expect(rows.get('k')).toMatchObject({ id: 'again-1', value: 'v' });
  });

  it('are kept when the answer of such a put is lost', async () => {
    keys.keep(write('k', 'p1', 'v'));
    expire('k');
    onPut = (done) => {
      done();
      throw new HedgeError('OUTCOME_UNKNOWN', 'simulated');
    };
    await returns();
    await clock.advanceAsync(MINUTE);
    expect(puts).toEqual(['again-1']);
    expire('k');
    onPut = (done) => done();
    await clock.advanceAsync(MINUTE);
    expect(rows.get('k')).toMatchObject({ id: 'again-2', value: 'v' });
    await keys.end();
    expect(removed).toEqual(['k again-2']);
  });

  it('have one id for all attempts behind one deletion, so that a late one counts as a put of this process', async () => {
    keys.keep(write('k', 'p1', 'v'));
    expire('k');
    onPut = () => {
      throw new HedgeError('DEADLINE_EXCEEDED', 'simulated');
    };
    await returns();
    await clock.advanceAsync(MINUTE);
    expect(puts.length).toBeGreaterThan(1);
    expect(new Set(puts)).toEqual(new Set(['again-1']));
    onPut = (done) => {
      write('k', 'again-1', 'v');
      return done();
    };
    await clock.advanceAsync(2 * MINUTE);
    await keys.end();
    expect(removed).toEqual(['k again-1']);
  });

  it('are put again when a failover of the database has lost them', async () => {
    keys.keep(write('k', 'p1', 'v'));
    write('l', 'of-another', 'old');
    const older = rows.get('l')!;
    keys.keep(write('l', 'p2', 'w'));
    rows.delete('k');
    rows.set('l', older);
    view(1, { epoch: 8n });
    await clock.advanceAsync(3_000);
    expect(rows.get('k')).toMatchObject({ id: 'again-1', value: 'v' });
    expect(rows.get('l')).toMatchObject({ id: 'again-2', value: 'w' });
  });

  it('have the value of the later commit when two puts are answered in the other order', async () => {
    const first = write('k', 'p1', 'old');
    keys.keep(write('k', 'p2', 'new'));
    keys.keep(first);
    expire('k');
    await returns();
    expect(rows.get('k')).toMatchObject({ id: 'again-1', value: 'new' });
    await keys.end();
    expect(removed).toEqual(['k again-1']);
  });

  it('are left to somebody else who has put or deleted them', async () => {
    keys.keep(write('k', 'p1'));
    keys.keep(write('l', 'p2'));
    write('k', 'of-another');
    write('l', 'x-deleted');
    await returns();
    await clock.advanceAsync(10 * MINUTE);
    expect(puts).toEqual([]);
    expect(reads).toBe(2);
    await keys.end();
    expect(removed).toEqual([]);
  });

  it('are left to a put of this process that overtakes the check', async () => {
    keys.keep(write('k', 'p1', 'v'));
    expire('k');
    onRead = () => {
      onRead = () => undefined;
      keys.keep(write('k', 'p2', 'new'));
    };
    await returns();
    await clock.advanceAsync(2 * MINUTE);
    expect(puts).toEqual([]);
    await keys.end();
    expect(removed).toEqual(['k p2']);
  });

  it('are left to a put of this process that overtakes such a put', async () => {
    keys.keep(write('k', 'p1', 'v'));
    expire('k');
    onPut = (done) => {
      keys.keep(write('k', 'p2', 'new'));
      return done();
    };
    await returns();
    await clock.advanceAsync(2 * MINUTE);
    expect(puts).toEqual(['again-1']);
    await keys.end();
    expect(removed).toEqual(['k p2']);
  });

  it.each(['NO_HANDLER', 'INVALID_ARGUMENT'] as const)(
    'are tried less and less often while puts fail with %s',
    async (code) => {
      keys.keep(write('k', 'p1'));
      expire('k');
      onPut = () => {
        throw new HedgeError(code, 'simulated');
      };
      await returns();
      await clock.advanceAsync(10 * MINUTE);
      expect(puts.length).toBeGreaterThan(5);
      expect(puts.length).toBeLessThan(20);
      onPut = (done) => done();
      view(1, { epoch: 8n });
      await clock.advanceAsync(3_000);
      expect(rows.get('k')).toMatchObject({ id: 'again-1' });
    },
  );
});
