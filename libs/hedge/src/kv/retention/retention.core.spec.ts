import { describe, expect, it } from '@jest/globals';
import { Retention, type RetentionEffect, type RetentionInput, type RetentionRule } from './retention.core.js';

const LIMITS = { everyMs: 1_000, leastAgeMs: 5_000, keys: 2, rows: 3, pauseMs: 10 };
const DAY_NS = 86_400_000_000_000n;

/** A retention on a database whose time begins at that of the given nanoseconds. */
function setUp(rules: readonly RetentionRule[], databaseTime = 0n) {
  const core = new Retention(rules, LIMITS);
  let now = 0;
  let timestamp = databaseTime;
  const step = (input: RetentionInput): readonly RetentionEffect[] => core.step(input, now);
  return {
    step,
    pass(ms: number): readonly RetentionEffect[] {
      now += ms;
      timestamp += BigInt(ms) * 1_000_000n;
      return step({ type: 'tick' });
    },
    /** Answers each mark until the first other call. */
    untilCall(effects: readonly RetentionEffect[]): RetentionEffect {
      for (let all = effects, rounds = 0; rounds < 100; rounds += 1) {
        const call = all.find((effect) => 'call' in effect);
        if (call !== undefined && call.type !== 'mark') return call;
        if (call !== undefined) all = step({ type: 'marked', call: call.call, timestamp });
        else {
          const wake = all.find((effect) => effect.type === 'wake');
          if (wake === undefined) throw new Error('nothing happens any more');
          all = this.pass(wake.afterMs);
        }
      }
      throw new Error('only marks happen');
    },
    jumpBack(ns: bigint): void {
      timestamp -= ns;
    },
  };
}

const elected = { type: 'elected', token: 7n } as const;

describe('retention', () => {
  it('deletes only what is older than its first mark, when that mark is old enough', () => {
    const retention = setUp([{ prefix: 'a/', versions: 2 }], 1_000_000n);
    const search = retention.untilCall(retention.step(elected));
    expect(search).toMatchObject({ type: 'search', prefix: 'a/', after: undefined, limit: 2 });
    expect(search).toMatchObject({ bounds: { keep: 2, before: 1_000_000n } });
    expect(retention.pass(0)).toEqual([]);
  });

  it('counts days by the time of the database, and keeps all versions by a rule for tombstones alone', () => {
    const time = 1_000n * DAY_NS;
    const retention = setUp(
      [
        { prefix: 'a/', days: 2 },
        { prefix: 'b/', tombstonesDays: 0.5 },
        { prefix: 'c/', days: 0, versions: 5 },
      ],
      time,
    );
    let found = retention.untilCall(retention.step(elected));
    const since = 6_000_000_000n;
    const bounds: unknown[] = [];
    for (let rule = 0; rule < 3; rule += 1) {
      if (found.type !== 'search') throw new Error(found.type);
      bounds.push(found.bounds);
      const effects = retention.step({ type: 'found', call: found.call, page: { keys: [], next: undefined } });
      if (rule < 2) found = retention.untilCall(effects);
    }
    expect(bounds[0]).toMatchObject({ keep: 1 });
    const [first, second] = bounds as { before: bigint; tombstonesBefore?: bigint }[];
    expect(first!.before - (time - 2n * DAY_NS)).toBeGreaterThan(0n);
    expect(first!.before - (time - 2n * DAY_NS)).toBeLessThan(since);
    expect(second!.before).toBe(0n);
    expect(second!.tombstonesBefore! - (time - DAY_NS / 2n)).toBeLessThan(since);
    expect(bounds[2]).toEqual({ keep: 5, before: time });
  });

  it('goes through all keys of all rules, in small calls with pauses', () => {
    const retention = setUp([
      { prefix: '', versions: 1 },
      { prefix: 'a/', versions: 9 },
    ]);
    const search = retention.untilCall(retention.step(elected));
    const page = { keys: ['__hedge/job/g/j', 'a/1', 'b'], next: 'b' };
    let call = retention.untilCall(retention.step({ type: 'found', call: callOf(search), page }));
    expect(call).toMatchObject({ type: 'trim', prefix: '', key: 'b', limit: 3, token: 7n });
    const full = retention.step({ type: 'trimmed', call: callOf(call), deleted: 3 });
    expect(full).toEqual([{ type: 'wake', afterMs: 10 }]);
    call = retention.untilCall(full);
    expect(call).toMatchObject({ type: 'trim', key: 'b' });
    retention.pass(5);
    const slow = retention.step({ type: 'trimmed', call: callOf(call), deleted: 2 });
    expect(slow).toEqual([{ type: 'wake', afterMs: 45 }]);
    call = retention.untilCall(slow);
    expect(call).toMatchObject({ type: 'search', prefix: '', after: 'b' });
    call = retention.untilCall(
      retention.step({ type: 'found', call: callOf(call), page: { keys: [], next: undefined } }),
    );
    expect(call).toMatchObject({ type: 'search', prefix: 'a/', after: undefined, bounds: { keep: 9 } });
    const last = { keys: ['a/1'], next: undefined };
    call = retention.untilCall(retention.step({ type: 'found', call: callOf(call), page: last }));
    expect(call).toMatchObject({ type: 'trim', prefix: 'a/', key: 'a/1' });
    retention.step({ type: 'trimmed', call: callOf(call), deleted: 1 });
    expect(retention.pass(10)).toEqual([
      { type: 'swept', deleted: 6, ms: expect.any(Number) },
      { type: 'wake', afterMs: 1_000 },
    ]);
  });

  it('settles a compaction at the end of a whole sweep, or when the term ends', () => {
    const retention = setUp([{ prefix: '', versions: 1 }]);
    expect(retention.step({ type: 'compact', ticket: 1 })).toEqual([{ type: 'settle', ticket: 1, outcome: 'ended' }]);
    const search = retention.untilCall(retention.step(elected));
    expect(retention.step({ type: 'compact', ticket: 2 })).toEqual([]);
    const done = retention.step({ type: 'found', call: callOf(search), page: { keys: [], next: undefined } });
    const next = retention.untilCall(done);
    expect(next.type).toBe('search');
    retention.step({ type: 'found', call: callOf(next), page: { keys: [], next: undefined } });
    expect(retention.pass(10)).toContainEqual({ type: 'settle', ticket: 2, outcome: { deleted: 0 } });
    retention.step({ type: 'compact', ticket: 3 });
    expect(retention.step({ type: 'ended' })).toEqual([{ type: 'settle', ticket: 3, outcome: 'ended' }]);
    expect(retention.pass(100_000)).toEqual([]);
  });

  it('tries again after a failure, ignores calls of an earlier term, and begins anew in the next one', () => {
    const retention = setUp([{ prefix: '', versions: 1 }]);
    const search = retention.untilCall(retention.step(elected));
    const error = new Error('no');
    expect(retention.step({ type: 'failed', call: callOf(search), error })).toMatchObject([
      { type: 'swept', deleted: 0, error },
      { type: 'wake', afterMs: 1_000 },
    ]);
    retention.step({ type: 'ended' });
    const [mark] = retention.step({ type: 'elected', token: 8n });
    expect(mark).toMatchObject({ type: 'mark', token: 8n });
    expect(retention.step({ type: 'trimmed', call: callOf(search), deleted: 3 })).toEqual([]);
    retention.step({ type: 'marked', call: callOf(mark!), timestamp: 9n ** 18n });
    expect(retention.pass(10)).toMatchObject([{ type: 'swept' }, { type: 'wake' }]);
  });

  it('searches fewer keys after a search that failed, and goes on behind a key whose deletion failed', () => {
    const retention = setUp([{ prefix: '', versions: 1 }]);
    const error = new Error('too slow');
    let call = retention.untilCall(retention.step(elected));
    expect(call).toMatchObject({ type: 'search', limit: 2 });
    const fails = () => retention.untilCall(retention.step({ type: 'failed', call: callOf(call), error }));
    const finds = (keys: string[], next?: string) =>
      retention.untilCall(retention.step({ type: 'found', call: callOf(call), page: { keys, next } }));
    call = fails();
    expect(call).toMatchObject({ type: 'search', limit: 1, after: undefined });
    call = finds(['a'], 'a');
    expect(call).toMatchObject({ type: 'trim', key: 'a' });
    call = fails();
    expect(call).toMatchObject({ type: 'search', limit: 2, after: undefined });
    call = finds(['a'], 'a');
    expect(call).toMatchObject({ type: 'search', after: 'a' });
    call = finds(['b']);
    expect(call).toMatchObject({ type: 'trim', key: 'b' });
    call = retention.untilCall(retention.step({ type: 'trimmed', call: callOf(call), deleted: 1 }));
    // After a whole sweep, both are tried again.
    expect(call).toMatchObject({ type: 'search', limit: 2, after: undefined });
    call = finds(['a', 'b']);
    expect(call).toMatchObject({ type: 'trim', key: 'a' });
    // A sweep for `compact` says which deletion fails.
    retention.step({ type: 'compact', ticket: 1 });
    call = fails();
    expect(call).toMatchObject({ type: 'search', limit: 2, after: undefined });
    call = finds(['a', 'b']);
    expect(call).toMatchObject({ type: 'trim', key: 'a' });
    const ended = retention.step({ type: 'failed', call: callOf(call), error });
    expect(ended).toContainEqual({ type: 'settle', ticket: 1, outcome: { error } });
  });

  it('goes on where it failed, so that it reaches the last key although a call fails in each sweep', () => {
    const core = setUp([
      { prefix: 'a/', versions: 1 },
      { prefix: 'b/', versions: 1 },
    ]);
    const error = new Error('sometimes');
    let call = core.untilCall(core.step(elected));
    const fails = () => core.untilCall(core.step({ type: 'failed', call: callOf(call), error }));
    const finds = (keys: string[], next?: string) =>
      core.untilCall(core.step({ type: 'found', call: callOf(call), page: { keys, next } }));
    call = finds([], 'a/2');
    expect(call).toMatchObject({ type: 'search', prefix: 'a/', after: 'a/2' });
    call = fails();
    expect(call).toMatchObject({ type: 'search', prefix: 'a/', after: 'a/2', limit: 1 });
    call = finds([]);
    expect(call).toMatchObject({ type: 'search', prefix: 'b/', after: undefined, limit: 2 });
    call = finds([], 'b/2');
    call = finds(['b/3', 'b/4'], 'b/4');
    expect(call).toMatchObject({ type: 'trim', key: 'b/3' });
    call = fails();
    expect(call).toMatchObject({ type: 'search', prefix: 'b/', after: 'b/2' });
    call = finds(['b/3', 'b/4'], 'b/4');
    expect(call).toMatchObject({ type: 'trim', key: 'b/4' });
    // A sweep for `compact` looks at all keys.
    core.step({ type: 'compact', ticket: 1 });
    call = fails();
    expect(call).toMatchObject({ type: 'search', prefix: 'a/', after: undefined });
  });

  it('skips a key whose search fails alone, until the next whole sweep', () => {
    const core = setUp([{ prefix: '', versions: 1 }]);
    let call = core.untilCall(core.step(elected));
    const fails = () =>
      core.untilCall(core.step({ type: 'failed', call: callOf(call), error: new Error('too large') }));
    const finds = (keys: string[], next?: string) =>
      core.untilCall(core.step({ type: 'found', call: callOf(call), page: { keys, next } }));
    call = finds([], 'b');
    call = fails();
    expect(call).toMatchObject({ type: 'search', limit: 1, after: 'b' });
    call = fails();
    expect(call).toMatchObject({ type: 'skip', prefix: '', after: 'b' });
    call = fails();
    expect(call).toMatchObject({ type: 'skip', prefix: '', after: 'b' });
    call = finds([], 'large');
    expect(call).toMatchObject({ type: 'search', after: 'large' });
    call = finds(['z']);
    expect(call).toMatchObject({ type: 'trim', key: 'z' });
    call = core.untilCall(core.step({ type: 'trimmed', call: callOf(call), deleted: 1 }));
    expect(call).toMatchObject({ type: 'search', after: undefined });
  });

  it('does not search through the keys of this library', () => {
    const core = setUp([{ prefix: '', versions: 1 }]);
    const search = core.untilCall(core.step(elected));
    const page = { keys: [], next: '__hedge/expiry/g/s/1' };
    const next = core.untilCall(core.step({ type: 'found', call: callOf(search), page }));
    expect(next).toMatchObject({ type: 'search', after: '__hedge/\u{10FFFF}' });
  });

  it('deletes nothing by marks from before a loss of the last commits of the database', () => {
    const retention = setUp([{ prefix: '', versions: 1 }], 100_000_000_000n);
    const search = retention.untilCall(retention.step(elected));
    expect(search).toMatchObject({ bounds: { before: 100_000_000_000n } });
    retention.step({ type: 'found', call: callOf(search), page: { keys: [], next: undefined } });
    retention.jumpBack(50_000_000_000n);
    const again = retention.untilCall(retention.pass(10));
    if (again.type !== 'search') throw new Error(again.type);
    expect(again.bounds.before).toBeLessThan(70_000_000_000n);
  });
});

function callOf(effect: RetentionEffect): number {
  if (!('call' in effect)) throw new Error(`${effect.type} is no call`);
  return effect.call;
}
