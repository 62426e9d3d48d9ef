import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import { GroupCommit } from './group-commit.core.js';
import {
  DEFAULT_GROUP_COMMIT_LIMITS,
  type GroupCommitEffect,
  type GroupCommitLimits,
  type PutItem,
  type PutOutcome,
  type PutRow,
  type PutTransaction,
  type Write,
} from './group-commit.messages.js';

const FAR = 1_000_000;

function row(id: string, over: Partial<PutRow> = {}): PutRow {
  return { key: 'k', value: `v-${id}`, id, overwrite: false, fence: 0n, ...over };
}

/** A put with a condition. */
function rowIf(id: string, condition: PutItem['condition'], key = 'k'): PutTransaction {
  return { items: [{ key, append: { id, value: `v-${id}` }, condition }], fence: 0n };
}

/** A transaction of these keys, whose first row has the id. */
function several(id: string, keys: readonly string[]): PutTransaction {
  return {
    items: keys.map((key, place) => ({ key, append: { id: place === 0 ? id : `${id}-${place}`, value: 'v' } })),
    fence: 0n,
  };
}

/** The core, with its effects sorted into calls of the database and outcomes for the callers. */
class Bench {
  readonly core: GroupCommit;
  readonly batches: string[][] = [];
  readonly overwrites: { run: number; id: string }[] = [];
  readonly settled = new Map<number, bigint | string | undefined>();
  readonly errors = new Map<number, HedgeError>();
  wakeAt: number | undefined;
  now = 0;
  #tickets = 0;

  constructor(limits: Partial<GroupCommitLimits> = {}) {
    this.core = new GroupCommit({ ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100, ...limits });
  }

  put(write: Write, deadline = FAR): number {
    const ticket = (this.#tickets += 1);
    this.#perform(this.core.step({ type: 'put', ticket, write, deadline }, this.now));
    return ticket;
  }

  flush(now = this.now): void {
    this.now = now;
    this.#perform(this.core.step({ type: 'flush' }, now));
  }

  appended(timestamp: bigint): void {
    const outcomes = (this.batches.at(-1) ?? []).map(() => ({ timestamp }));
    this.#perform(this.core.step({ type: 'appended', outcomes }, this.now));
  }

  appendedWith(outcomes: readonly PutOutcome[]): void {
    this.#perform(this.core.step({ type: 'appended', outcomes }, this.now));
  }

  appendFailed(error: unknown): void {
    this.#perform(this.core.step({ type: 'append-failed', error, random: 1 }, this.now));
  }

  overwritten(run: number, timestamp: bigint): void {
    this.#perform(this.core.step({ type: 'overwritten', run, timestamp }, this.now));
  }

  overwriteFailed(run: number, error: unknown): void {
    this.#perform(this.core.step({ type: 'overwrite-failed', run, error, random: 1 }, this.now));
  }

  #perform(effects: readonly GroupCommitEffect[]): void {
    for (const effect of effects) {
      if (effect.type === 'append') this.batches.push(effect.rows.map((each) => each.id));
      else if (effect.type === 'append-if')
        this.batches.push(effect.transactions.map(({ items: [item] }) => item?.append?.id ?? ''));
      else if (effect.type === 'overwrite') this.overwrites.push({ run: effect.run, id: effect.row.id });
      else if (effect.type === 'wake') this.wakeAt = effect.at;
      else {
        expect(this.settled.has(effect.ticket)).toBe(false);
        const { outcome } = effect;
        if (outcome instanceof HedgeError) this.errors.set(effect.ticket, outcome);
        if (outcome instanceof HedgeError) this.settled.set(effect.ticket, outcome.code);
        else this.settled.set(effect.ticket, 'refused' in outcome ? outcome.refused[0]?.newest?.id : outcome.timestamp);
      }
    }
  }
}

const unavailable = new HedgeError('BACKEND_UNAVAILABLE', 'away');
const invalid = new HedgeError('INVALID_ARGUMENT', 'too large');
const lost = new HedgeError('LEASE_LOST', 'another leads');

describe('group commit: batches', () => {
  it('commits the puts of one turn together, and puts that arrive meanwhile in the next batch', () => {
    const bench = new Bench();
    const [a, b] = [bench.put(row('1')), bench.put(row('2'))];
    expect(bench.batches).toEqual([]);
    bench.flush(bench.wakeAt);
    expect(bench.batches).toEqual([['1', '2']]);
    const [c, d] = [bench.put(row('3')), bench.put(row('4', { key: 'other' }))];
    bench.flush();
    expect(bench.batches).toHaveLength(1);
    bench.appended(10n);
    expect(bench.batches[1]).toEqual(['3', '4']);
    bench.appended(11n);
    expect([a, b, c, d].map((ticket) => bench.settled.get(ticket))).toEqual([10n, 10n, 11n, 11n]);
    expect(bench.core.unsettled).toBe(0);
  });

  it('keeps each batch within its limits of rows and bytes, and sends a larger row alone', () => {
    const bench = new Bench({ maxBatchRows: 3, maxBatchBytes: 100 });
    bench.put(row('a', { value: 'x'.repeat(60) }));
    bench.put(row('b', { value: 'x'.repeat(60) }));
    bench.put(row('c', { value: 'x'.repeat(500) }));
    for (const id of ['d', 'e', 'f', 'g']) bench.put(row(id));
    bench.flush();
    for (let timestamp = 1n; timestamp < 6n; timestamp += 1n) bench.appended(timestamp);
    expect(bench.batches).toEqual([['a'], ['b'], ['c'], ['d', 'e', 'f'], ['g']]);
  });

  it('never mixes fences, and starves no fence', () => {
    const bench = new Bench({ maxBatchRows: 2 });
    for (const id of ['1', '2', '3']) bench.put(row(id));
    for (const id of ['4', '5']) bench.put(row(id, { fence: 7n }));
    bench.flush();
    bench.appended(1n);
    bench.appended(2n);
    bench.appended(3n);
    expect(bench.batches).toEqual([['1', '2'], ['4', '5'], ['3']]);
  });

  it('rejects puts over the limits with OVERLOADED, and accepts puts again when there is room', () => {
    const byCount = new Bench({ maxQueuedPuts: 2 });
    byCount.put(row('1'));
    byCount.put(row('2'));
    expect(byCount.settled.get(byCount.put(row('3')))).toBe('OVERLOADED');
    byCount.flush();
    byCount.appended(1n);
    expect(byCount.settled.get(byCount.put(row('3')))).toBeUndefined();

    const byBytes = new Bench({ maxQueuedBytes: 100 });
    byBytes.put(row('1', { value: 'é'.repeat(40) }));
    expect(byBytes.settled.get(byBytes.put(row('2', { value: 'é'.repeat(10) })))).toBe('OVERLOADED');
  });
});

describe('group commit: repetitions (K1)', () => {
  it('joins a repeated put with the pending one, before and during its commit', () => {
    const bench = new Bench();
    const first = bench.put(row('1'));
    const second = bench.put(row('1'));
    bench.flush();
    const third = bench.put(row('1'));
    bench.appended(5n);
    expect([first, second, third].map((ticket) => bench.settled.get(ticket))).toEqual([5n, 5n, 5n]);
    expect(bench.batches).toEqual([['1']]);
  });

  it('rejects the same id with another value, and reports conflicts of the database', () => {
    const bench = new Bench();
    const good = bench.put(row('1'));
    expect(bench.settled.get(bench.put(row('1', { value: 'other' })))).toBe('CONFLICT');
    expect(bench.settled.get(bench.put(row('1', { overwrite: true })))).toBe('CONFLICT');
    const bad = bench.put(row('2'));
    bench.flush();
    bench.appendedWith([{ timestamp: 3n }, new HedgeError('CONFLICT', 'there already')]);
    expect([bench.settled.get(good), bench.settled.get(bad)]).toEqual([3n, 'CONFLICT']);
  });

  it('does not confuse rows whose concatenated key and id are equal', () => {
    const bench = new Bench();
    bench.put(row('bc', { key: 'a', value: 'x' }));
    expect(bench.settled.get(bench.put(row('c', { key: 'ab', value: 'y' })))).toBeUndefined();
  });
});

describe('group commit: a failing database', () => {
  it('retries the same rows after a growing pause, before newer rows', () => {
    const bench = new Bench();
    const first = bench.put(row('1'));
    bench.flush();
    bench.appendFailed(unavailable);
    bench.put(row('2'));
    expect(bench.wakeAt).toBe(100);
    bench.flush(50); // a timer that fires early changes nothing
    expect(bench.batches).toHaveLength(1);
    bench.flush(100);
    bench.appendFailed(unavailable);
    expect(bench.wakeAt).toBe(300);
    bench.flush(300);
    bench.appended(9n);
    expect(bench.batches).toEqual([['1'], ['1'], ['1'], ['2']]);
    expect(bench.settled.get(first)).toBe(9n);
  });

  it('fails when the next attempt would be too late, with the reason of the last failure', () => {
    const bench = new Bench();
    const full = new HedgeError('BACKEND_UNAVAILABLE', 'sqlite /db did not do append: disk is full');
    const [hasty, patient] = [bench.put(row('1'), 90), bench.put(row('2'), 10_000)];
    const hastyOverwrite = bench.put(row('3', { overwrite: true }), 90);
    bench.flush();
    bench.appendFailed(full);
    bench.overwriteFailed(1, full);
    for (const ticket of [hasty, hastyOverwrite]) {
      const error = bench.errors.get(ticket);
      expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', cause: full });
      expect(error?.message).toContain('(sqlite /db did not do append: disk is full)');
    }
    bench.flush(200);
    bench.appended(9n);
    expect(bench.settled.get(patient)).toBe(9n);
    expect(bench.batches).toEqual([['1', '2'], ['2']]);
  });

  it('fails at the deadline, and reports whether the row may have been written', () => {
    const bench = new Bench();
    const tried = bench.put(row('1'), 150);
    bench.flush();
    const waiting = bench.put(row('2'), 150);
    const patient = bench.put(row('2'), 10_000);
    bench.appendFailed(unavailable);
    bench.flush(200);
    expect(bench.settled.get(tried)).toBe('DEADLINE_EXCEEDED');
    expect(bench.errors.get(tried)).toMatchObject({ retryable: false, details: { started: true } });
    expect(bench.errors.get(waiting)).toMatchObject({ retryable: true, details: { started: false } });
    expect(bench.batches.at(-1)).toEqual(['2']);
    bench.appended(4n);
    expect(bench.settled.get(patient)).toBe(4n);
    expect(bench.core.unsettled).toBe(0);
  });

  it('halves a batch that the database rejects, until only the row at fault fails', () => {
    const bench = new Bench();
    const tickets = new Map(['1', '2', '3', '4', '5'].map((id) => [id, bench.put(row(id))]));
    bench.flush();
    for (let tries = 0; bench.core.unsettled > 0; tries += 1) {
      expect(tries).toBeLessThan(20);
      if (bench.batches.at(-1)?.includes('4')) bench.appendFailed(invalid);
      else bench.appended(1n);
    }
    for (const [id, ticket] of tickets) expect(bench.settled.get(ticket)).toBe(id === '4' ? 'INVALID_ARGUMENT' : 1n);
  });

  it('tries a put again under the fence of a later term, also while its attempt of the earlier term waits', () => {
    const bench = new Bench();
    const earlier = bench.put(row('1', { fence: 7n }));
    bench.flush();
    const later = bench.put(row('1', { fence: 8n }));
    bench.appendFailed(lost);
    bench.appended(3n);
    expect([bench.settled.get(earlier), bench.settled.get(later)]).toEqual(['LEASE_LOST', 3n]);
  });

  it('fails only the fenced puts when the lease is lost', () => {
    const bench = new Bench();
    const fenced = bench.put(row('1', { fence: 7n }));
    const free = bench.put(row('2'));
    bench.flush();
    bench.appendFailed(lost);
    bench.appended(2n);
    expect([bench.settled.get(fenced), bench.settled.get(free)]).toEqual(['LEASE_LOST', 2n]);
  });

  it('reports OUTCOME_UNKNOWN when a rejection follows an attempt without an answer (K1)', () => {
    const bench = new Bench();
    const ticket = bench.put(row('1', { fence: 7n }));
    bench.flush();
    bench.appendFailed(unavailable);
    bench.flush(100);
    bench.appendFailed(lost);
    expect(bench.settled.get(ticket)).toBe('OUTCOME_UNKNOWN');
  });

  it('survives a driver that breaks its contract', () => {
    const bench = new Bench();
    const [a, b] = [bench.put(row('1')), bench.put(row('2'))];
    bench.flush();
    bench.appendFailed(new TypeError('broken'));
    bench.appendFailed(new TypeError('broken'));
    bench.appendedWith([]);
    expect([bench.settled.get(a), bench.settled.get(b)]).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
  });
});

describe('group commit: puts with a condition', () => {
  const condition = { follows: { timestamp: 1n, id: 'before' } };
  const newest = { key: 'k', id: 'newest', value: 'v', leader: 'l', timestamp: 2n };

  it('share transactions among themselves only, with one row for each key (K4)', () => {
    const bench = new Bench({ maxTransactionItems: 2 });
    for (const [id, key] of ['1', '2', '3'].map((one) => [one, `k${one}`] as const))
      bench.put(rowIf(id, condition, key));
    bench.put(rowIf('4', condition, 'k1'));
    bench.put(row('5', { key: 'k1' }));
    bench.flush();
    for (let timestamp = 1n; timestamp < 4n; timestamp += 1n) bench.appended(timestamp);
    expect(bench.batches).toEqual([['1', '2'], ['5'], ['3', '4']]);
  });

  it('end with the newest row when the condition does not hold, also after an attempt without an answer (K4)', () => {
    const bench = new Bench();
    const [a, b] = [bench.put(rowIf('1', condition, 'a')), bench.put(rowIf('2', condition, 'b'))];
    bench.flush();
    bench.appendFailed(unavailable);
    bench.flush(100);
    expect(bench.batches).toEqual([
      ['1', '2'],
      ['1', '2'],
    ]);
    bench.appendedWith([{ refused: [{ place: 0, newest }] }, { timestamp: 5n }]);
    expect([bench.settled.get(a), bench.settled.get(b)]).toEqual(['newest', 5n]);
  });

  it('run at no time beside an overwrite, in turns with the overwrites', () => {
    const bench = new Bench({ maxOverwrites: 2 });
    for (const id of ['1', '2', '3']) bench.put(row(id, { overwrite: true }));
    for (const id of ['4', '5']) bench.put(rowIf(id, condition));
    bench.flush();
    expect([bench.overwrites.map(({ id }) => id), bench.batches]).toEqual([['1', '2'], []]);
    bench.overwritten(1, 1n);
    expect(bench.overwrites).toHaveLength(2);
    bench.put(row('6'));
    bench.flush();
    expect(bench.batches).toEqual([['6']]);
    bench.overwritten(2, 2n);
    bench.appended(3n);
    expect([bench.overwrites.length, bench.batches]).toEqual([2, [['6'], ['4']]]);
    bench.appended(4n);
    expect([bench.overwrites.map(({ id }) => id), bench.batches.length]).toEqual([['1', '2', '3'], 2]);
    bench.overwritten(3, 5n);
    expect(bench.batches).toEqual([['6'], ['4'], ['5']]);
  });

  it('wait for no overwrite whose deadline has passed, and hold up none when their own has', () => {
    const bench = new Bench({ maxOverwrites: 1 });
    const late = bench.put(row('1', { overwrite: true }), 50);
    const inTime = bench.put(rowIf('2', condition));
    bench.flush(50);
    expect([bench.settled.get(late), bench.overwrites, bench.batches]).toEqual(['DEADLINE_EXCEEDED', [], [['2']]]);
    bench.appended(1n);
    expect(bench.settled.get(inTime)).toBe(1n);
    for (const id of ['3', '4']) bench.put(row(id, { overwrite: true }));
    const lost = bench.put(rowIf('5', condition), 60);
    bench.flush();
    bench.now = 60;
    bench.overwritten(1, 2n);
    expect([bench.settled.get(lost), bench.overwrites.at(-1)?.id]).toEqual(['DEADLINE_EXCEEDED', '4']);
  });

  it('let other puts go first after BACKEND_UNAVAILABLE', () => {
    const bench = new Bench();
    bench.put(rowIf('1', condition));
    bench.flush();
    bench.put(row('2'));
    bench.appendFailed(unavailable);
    bench.flush(100);
    bench.appended(1n);
    expect(bench.batches).toEqual([['1'], ['2'], ['1']]);
  });

  it('stay before later puts of their keys after BACKEND_UNAVAILABLE', () => {
    const bench = new Bench();
    for (const [id, key] of [
      ['renewal', 'a'],
      ['other', 'b'],
    ] as const)
      bench.put(rowIf(id, condition, key));
    bench.flush();
    bench.put(rowIf('deletion', condition, 'a'));
    bench.put(rowIf('later', condition, 'c'));
    bench.appendFailed(unavailable);
    bench.flush(100);
    bench.appended(1n);
    expect(bench.batches).toEqual([['renewal', 'other'], ['renewal', 'other', 'later'], ['deletion']]);
  });

  it('do not delay other puts and overwrites by their pause after BACKEND_UNAVAILABLE', () => {
    const bench = new Bench();
    bench.put(rowIf('1', condition));
    bench.flush();
    for (let round = 1; round <= 3; round += 1) {
      bench.appendFailed(unavailable);
      const put = bench.put(row(`put ${round}`));
      bench.flush();
      bench.appended(1n);
      expect(bench.settled.get(put)).toBe(1n);
      const overwrite = bench.put({ ...row(`overwrite ${round}`), overwrite: true });
      bench.flush();
      expect(bench.overwrites.at(-1)?.id).toBe(`overwrite ${round}`);
      bench.overwritten(round, 2n);
      expect(bench.settled.get(overwrite)).toBe(2n);
      // The pause of the condition grows, and then it runs alone.
      bench.flush(1_000 * round);
      expect(bench.batches.at(-1)).toEqual(['1']);
    }
  });

  it('run again after their pause, also when a timer fires early', () => {
    const bench = new Bench();
    bench.put(rowIf('1', condition));
    bench.flush();
    bench.appendFailed(unavailable);
    const at = bench.wakeAt!;
    bench.wakeAt = undefined;
    bench.flush(at - 0.5);
    expect(bench.wakeAt).toBe(at);
    bench.flush(at);
    expect(bench.batches).toEqual([['1'], ['1']]);
  });

  it('fail with CONFLICT under the id of a put in progress that has another condition', () => {
    const bench = new Bench();
    const first = bench.put(rowIf('1', condition));
    const again = bench.put(rowIf('1', { follows: { ...condition.follows } }));
    const conditions = [undefined, { follows: undefined }, { follows: newest }];
    const refused = [row('1'), ...conditions.map((other) => rowIf('1', other))].map((write) => bench.put(write));
    const conflicts = refused.map(() => 'CONFLICT');
    expect(refused.map((ticket) => bench.settled.get(ticket))).toEqual(conflicts);
    bench.flush();
    bench.appended(3n);
    expect([bench.settled.get(first), bench.settled.get(again)]).toEqual([3n, 3n]);
  });
});

describe('group commit: transactions of several keys', () => {
  it('share a transaction of the database while their keys are distinct and their items fit (K5)', () => {
    const bench = new Bench({ maxTransactionItems: 4 });
    for (const [id, keys] of Object.entries({
      one: ['a', 'b'],
      two: ['b', 'c'],
      three: ['c'],
      four: ['d', 'e'],
      five: ['f'],
    }))
      bench.put(several(id, keys));
    bench.flush();
    for (let timestamp = 1n; timestamp < 4n; timestamp += 1n) bench.appended(timestamp);
    // The third one waits behind the second one, which names its key, too.
    expect(bench.batches).toEqual([['one', 'four'], ['two', 'five'], ['three']]);
  });

  it('are retried as a whole, and only the one at fault fails (K5)', () => {
    const bench = new Bench();
    const [good, bad] = [bench.put(several('good', ['a', 'b'])), bench.put(several('bad', ['c', 'd']))];
    bench.flush();
    bench.appendFailed(invalid);
    bench.appended(1n);
    bench.appendFailed(invalid);
    expect(bench.batches).toEqual([['good', 'bad'], ['good'], ['bad']]);
    expect([bench.settled.get(good), bench.settled.get(bad)]).toEqual([1n, 'INVALID_ARGUMENT']);
    expect(bench.core.unsettled).toBe(0);
  });

  it('are joined by a repetition, and by none with another item', () => {
    const bench = new Bench();
    const first = bench.put(several('1', ['a', 'b']));
    const again = bench.put(several('1', ['a', 'b']));
    const others = [several('1', ['a']), several('1', ['a', 'c']), row('1', { key: 'a', value: 'v' })];
    expect(others.map((other) => bench.settled.get(bench.put(other)))).toEqual(['CONFLICT', 'CONFLICT', 'CONFLICT']);
    bench.flush();
    bench.appended(7n);
    expect([bench.settled.get(first), bench.settled.get(again)]).toEqual([7n, 7n]);
  });

  it('are named with their number of keys in errors, and count with all their bytes', () => {
    const bench = new Bench({ maxQueuedBytes: 100 });
    const late = bench.put(several('1', ['a', 'b']), 10);
    expect(bench.settled.get(bench.put(several('2', ['x'.repeat(60), 'y'.repeat(60)])))).toBe('OVERLOADED');
    bench.flush(10);
    expect(bench.errors.get(late)?.message).toContain('transaction of 2 keys with "a" ran out of time');
  });
});

describe('group commit: overwrites', () => {
  it('sends each alone, a bounded number at once, in parallel with the appends', () => {
    const bench = new Bench({ maxOverwrites: 2 });
    for (const id of ['1', '2', '3']) bench.put(row(id, { overwrite: true }));
    bench.put(row('4'));
    bench.flush();
    expect(bench.overwrites.map(({ id }) => id)).toEqual(['1', '2']);
    expect(bench.batches).toEqual([['4']]);
    bench.overwritten(1, 8n);
    expect(bench.settled.get(1)).toBe(8n);
    expect(bench.overwrites.map(({ id }) => id)).toEqual(['1', '2', '3']);
  });

  it('never repeats an overwrite that may have happened (K1)', () => {
    const bench = new Bench();
    const ticket = bench.put(row('1', { overwrite: true }));
    const broken = bench.put(row('2', { overwrite: true }));
    bench.flush();
    bench.overwriteFailed(1, new HedgeError('OUTCOME_UNKNOWN', 'lost'));
    bench.overwriteFailed(2, new TypeError('broken'));
    bench.flush(10_000);
    expect([bench.settled.get(ticket), bench.settled.get(broken)]).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    expect(bench.overwrites).toHaveLength(2);
  });

  it('repeats an overwrite that certainly did not happen, until its deadline', () => {
    const bench = new Bench();
    const ticket = bench.put(row('1', { overwrite: true }), 250);
    bench.flush();
    bench.overwriteFailed(1, unavailable);
    bench.flush(100);
    bench.overwriteFailed(2, unavailable);
    bench.flush(300);
    expect(bench.overwrites.map(({ id }) => id)).toEqual(['1', '1']);
    expect(bench.errors.get(ticket)).toMatchObject({ code: 'DEADLINE_EXCEEDED', details: { started: false } });
  });
});
