import { beforeEach, describe, expect, it } from '@jest/globals';
import { Expiry, type ExpiringVersion, type ExpiryEffect, type ExpiryInput, type ExpiryLimits } from './expiry.core.js';

const LIMITS: ExpiryLimits = {
  keys: 2,
  calls: 2,
  rows: 3,
  retryMs: 100,
  pauseMs: 20,
  trims: 2,
  untrimmed: 5,
  graceMs: 2_000,
  lateMs: 10_000,
};

let core: Expiry;
let now: number;

type Call = Exclude<ExpiryEffect, { readonly type: 'wake' }>;

/** The calls that an input causes. */
function step(input: ExpiryInput): Call[] {
  return core.step(input, now).filter((effect) => effect.type !== 'wake');
}

/** The calls that the next milliseconds cause, when each wake comes in time. */
function pass(ms: number): Call[] {
  const calls: Call[] = [];
  for (const end = now + ms; now < end;) {
    now += 1;
    calls.push(...step({ type: 'tick' }));
  }
  return calls;
}

function version(key: string, timestamp: number, ttlMs = 1_000): ExpiringVersion {
  return { key, id: `id${timestamp}`, timestamp: BigInt(timestamp), lifetime: { ttlMs } };
}

function put(key: string, timestamp: number, ttlMs?: number): Call[] {
  return step({ type: 'put', version: version(key, timestamp, ttlMs) });
}

const owned = (key: string, timestamp: number, incarnation: string): ExpiringVersion => {
  return {
    key,
    id: `id${timestamp}`,
    timestamp: BigInt(timestamp),
    lifetime: { owner: { address: 'p:1', incarnation } },
  };
};
const members = (alive: readonly string[], settled = true): Call[] =>
  step({ type: 'members', alive: new Set(alive), settled });

/** What is deleted in that time, when each look finds nothing new. */
function deletionsWithin(ms: number): ExpiringVersion[] {
  const deletions: ExpiringVersion[] = [];
  for (const end = now + ms; now < end;) {
    for (const call of pass(1)) {
      if (call.type === 'delete') deletions.push(call.version);
      if (call.type === 'look') step({ type: 'failed', call: call.call });
    }
  }
  return deletions;
}

/** A leader that has found no rows of earlier terms. */
function lead(): void {
  const [list] = step({ type: 'elected', token: 7n });
  const [search] = step({ type: 'listed', call: list!.call, versions: [], next: undefined });
  expect(step({ type: 'searched', call: search!.call, keys: [], next: undefined })).toEqual([]);
}

beforeEach(() => {
  core = new Expiry(LIMITS);
  now = 1_000;
});

describe('the expiry of keys on a leader', () => {
  it('K6 deletes a version when its time to live has passed since its commit was known, and not before', () => {
    lead();
    put('a', 5);
    expect(pass(999)).toEqual([]);
    expect(pass(12)).toMatchObject([{ type: 'delete', token: 7n, version: version('a', 5) }]);
  });

  it('K6 counts anew from each later put, with the time to live of that put', () => {
    lead();
    put('a', 5);
    pass(900);
    put('a', 6, 3_000);
    expect(pass(2_999)).toEqual([]);
    expect(pass(12)).toMatchObject([{ type: 'delete', version: version('a', 6, 3_000) }]);
  });

  it('K6 checks that the late answer to a put is of one that was replaced, and goes on counting', () => {
    lead();
    put('a', 6, 3_000);
    const [look] = put('a', 5);
    expect(look).toMatchObject({ type: 'look', key: 'a' });
    pass(50);
    step({ type: 'looked', call: look!.call, version: version('a', 6, 3_000) });
    expect(pass(2_949)).toEqual([]);
    expect(pass(12)).toMatchObject([{ version: version('a', 6, 3_000) }]);
  });

  it('K6 gives the keys of earlier terms their whole time to live, and reads them in pages, once', () => {
    const [list] = step({ type: 'elected', token: 7n });
    expect(list).toMatchObject({ type: 'list', after: undefined, limit: 2 });
    now += 50;
    const page = [version('a', 1), version('b', 2)];
    const [next] = step({ type: 'listed', call: list!.call, versions: page, next: 'b' });
    expect(next).toMatchObject({ type: 'list', after: 'b' });
    now += 20;
    const [search] = step({ type: 'listed', call: next!.call, versions: [version('c', 3)], next: undefined });
    expect(search).toMatchObject({ type: 'search', after: undefined });
    step({ type: 'searched', call: search!.call, keys: [], next: undefined });
    expect(pass(979)).toEqual([]);
    expect(pass(12).map((call) => 'version' in call && call.version.key)).toEqual(['a', 'b']);
  });

  it('deletes nothing right after a stall of its process, so that puts which wait in its sockets can renew their keys', () => {
    lead();
    put('a', 5);
    put('b', 6);
    now += 1_800; // instead of 1,000
    expect(put('a', 7, 5_000)).toEqual([]);
    expect(pass(799)).toEqual([]);
    now += 300; // The end of the hold is late, too.
    expect(step({ type: 'tick' })).toMatchObject([{ type: 'delete', version: version('b', 6) }]);
    expect(core.size).toBe(2);
  });

  it('reads a page again after a failure, and a version of this term is later than one of the page', () => {
    const [list] = step({ type: 'elected', token: 7n });
    put('a', 9, 5_000);
    expect(step({ type: 'failed', call: list!.call })).toEqual([]);
    const [again] = pass(100);
    step({ type: 'listed', call: again!.call, versions: [version('a', 1)], next: undefined });
    expect(pass(4_800)).toEqual([]);
    expect(pass(200)).toMatchObject([{ type: 'delete', version: version('a', 9, 5_000) }]);
  });

  it('prefers the version of a page to the answer of an older put, which its caller tried again in this term', () => {
    const [list] = step({ type: 'elected', token: 7n });
    put('a', 1, 90_000);
    step({ type: 'listed', call: list!.call, versions: [version('a', 2)], next: undefined });
    expect(pass(1_020)).toMatchObject([{ type: 'delete', version: version('a', 2) }]);
  });

  it('has few deletions in flight, and goes on when one has ended', () => {
    lead();
    for (const key of ['a', 'b', 'c']) {
      put(key, 5);
      now += 1;
    }
    const [one, two, ...others] = pass(1_020);
    expect(others).toEqual([]);
    expect([one, two].map((call) => call?.type)).toEqual(['delete', 'delete']);
    expect(step({ type: 'deleted', call: one!.call, outcome: 'done' })).toMatchObject([
      { type: 'delete', version: { key: 'c' } },
      { type: 'trim', key: 'a', token: 7n },
    ]);
    expect(core.size).toBe(2);
  });

  it('tries a deletion again that failed, and forgets one whose key was renewed meanwhile', () => {
    lead();
    put('a', 5);
    const [first] = pass(1_020);
    step({ type: 'failed', call: first!.call });
    const [second] = pass(120);
    expect(second).toMatchObject({ type: 'delete', version: version('a', 5) });
    put('a', 6);
    expect(step({ type: 'deleted', call: second!.call, outcome: 'done' })).toEqual([]);
    expect(pass(999)).toEqual([]);
    expect(pass(12)).toMatchObject([{ type: 'delete', version: version('a', 6) }]);
  });

  it('K6 leaves a key that was put without a time to live, and closes its expiry rows', () => {
    lead();
    put('a', 5);
    const [deletion] = pass(1_020);
    const [close] = [...step({ type: 'deleted', call: deletion!.call, outcome: 'replaced' }), ...pass(20)];
    expect(close).toMatchObject({ type: 'close', token: 7n, version: version('a', 5) });
    expect(step({ type: 'deleted', call: close!.call, outcome: 'done' })).toMatchObject([{ type: 'trim', key: 'a' }]);
    expect(core.size).toBe(0);
    expect(pass(20_000)).toEqual([]);
  });

  it('K6 looks up a key that has a later version, which it did not know, and counts from then', () => {
    lead();
    put('a', 5);
    const [deletion] = pass(1_020);
    const [look] = [...step({ type: 'deleted', call: deletion!.call, outcome: 'renewed' }), ...pass(20)];
    expect(look).toMatchObject({ type: 'look', key: 'a' });
    step({ type: 'looked', call: look!.call, version: version('a', 6) });
    expect(pass(999)).toEqual([]);
    expect(pass(12)).toMatchObject([{ type: 'delete', version: version('a', 6) }]);
  });

  it('looks for a put without an answer, ever more seldom, until it cannot be written any more', () => {
    lead();
    step({ type: 'unsettled', key: 'a' });
    const looks: number[] = [];
    for (const start = now; now < start + 12_000;) {
      for (const { type, call } of pass(10)) {
        expect(type).toBe('look');
        looks.push(now - start);
        step({ type: 'looked', call, version: undefined });
      }
    }
    expect(looks).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
    expect(core.size).toBe(0);
  });

  it('finds a put without an answer of a key that was put for a longer time', () => {
    lead();
    put('a', 5, 9_000_000);
    step({ type: 'unsettled', key: 'a' });
    const [early] = pass(120);
    step({ type: 'looked', call: early!.call, version: version('a', 5, 9_000_000) });
    const [late] = pass(120);
    expect(late).toMatchObject({ type: 'look', key: 'a' });
    step({ type: 'looked', call: late!.call, version: version('a', 6) });
    expect(deletionsWithin(1_020)).toMatchObject([version('a', 6)]);
  });

  it('finds a put without an answer that was written behind a later put with one', () => {
    lead();
    step({ type: 'unsettled', key: 'a' });
    put('a', 6, 9_000_000);
    const [look] = pass(120);
    step({ type: 'looked', call: look!.call, version: version('a', 7) });
    expect(deletionsWithin(1_020)).toMatchObject([version('a', 7)]);
  });

  it('follows the puts of a database that has lost a put of this term, and gives lower timestamps now', () => {
    lead();
    put('a', 50, 9_000_000);
    const [look] = put('a', 20);
    step({ type: 'looked', call: look!.call, version: version('a', 20) });
    expect(deletionsWithin(1_020)).toMatchObject([version('a', 20)]);
  });

  describe('of processes', () => {
    it('stay while the process is a member, and go when it has left', () => {
      lead();
      members(['x', 'y']);
      step({ type: 'put', version: owned('a', 5, 'x') });
      step({ type: 'put', version: owned('b', 6, 'y') });
      expect(pass(10_000)).toEqual([]);
      expect([...members(['y']), ...pass(20)]).toMatchObject([{ type: 'delete', version: { key: 'a' } }]);
    });

    it('of an earlier process at the same address go', () => {
      lead();
      members(['x1']);
      step({ type: 'put', version: owned('a', 5, 'x1') });
      step({ type: 'put', version: owned('b', 6, 'x2') });
      expect([...members(['x2']), ...pass(20)]).toMatchObject([{ type: 'delete', version: { key: 'a' } }]);
      expect(pass(10_000)).toEqual([]);
    });

    it('that the leader has not heard in its term get the time to join, and more until the view is settled', () => {
      const [list] = step({ type: 'elected', token: 7n });
      members([], false);
      const [search] = step({
        type: 'listed',
        call: list!.call,
        versions: [owned('a', 1, 'x'), owned('b', 2, 'y')],
        next: undefined,
      });
      step({ type: 'searched', call: search!.call, keys: [], next: undefined });
      expect(pass(1_900)).toEqual([]);
      members(['x'], false);
      expect(pass(3_000)).toEqual([]);
      members(['x'], true);
      expect(pass(600)).toMatchObject([{ type: 'delete', version: { key: 'b' } }]);
      expect(pass(10_000)).toEqual([]);
    });

    it('go when another process has put them without an answer, and has left', () => {
      lead();
      members(['x', 'y']);
      step({ type: 'put', version: owned('a', 5, 'x') });
      step({ type: 'unsettled', key: 'a' });
      members(['x']);
      const [look] = pass(120);
      expect(look).toMatchObject({ type: 'look', key: 'a' });
      step({ type: 'looked', call: look!.call, version: owned('a', 6, 'y') });
      expect(deletionsWithin(2_020)).toMatchObject([owned('a', 6, 'y')]);
    });

    it('stay when it is back before the deletion began, and follow the owner of the last put', () => {
      lead();
      step({ type: 'put', version: owned('a', 5, 'x') });
      expect(pass(1_900)).toEqual([]);
      members(['x', 'y']);
      expect(pass(5_000)).toEqual([]);
      step({ type: 'put', version: owned('a', 6, 'y') });
      members(['y']);
      expect(pass(5_000)).toEqual([]);
      step({ type: 'put', version: version('a', 7, 1_000) });
      members([]);
      expect(pass(900)).toEqual([]);
      expect(pass(120)).toMatchObject([{ type: 'delete', version: version('a', 7, 1_000) }]);
    });
  });

  it('trims the expiry rows of a key after some puts, and those that it has found, one key after the other', () => {
    const [list] = step({ type: 'elected', token: 7n });
    const [search] = step({ type: 'listed', call: list!.call, versions: [], next: undefined });
    const [trim] = step({ type: 'searched', call: search!.call, keys: ['old'], next: undefined });
    expect(trim).toMatchObject({ type: 'trim', key: 'old' });
    for (const timestamp of [1, 2, 3]) expect(put('a', timestamp, 90_000)).toEqual([]);
    expect(step({ type: 'failed', call: trim!.call })).toEqual([]);
    const calls = pass(120);
    expect(calls).toMatchObject([{ type: 'trim', key: 'a' }]);
    step({ type: 'trimmed', call: calls[0]!.call, more: false });
    expect(pass(500)).toMatchObject([{ type: 'trim', key: 'old' }]);
  });

  it('trims several keys at a time without a pause when many wait', () => {
    lead();
    for (const key of ['a', 'b', 'c', 'd', 'e']) put(key, 5);
    const trims: Call[] = [];
    const deletions = pass(1_020);
    for (const { call } of deletions) {
      for (const next of step({ type: 'deleted', call, outcome: 'done' }))
        (next.type === 'delete' ? deletions : trims).push(next);
    }
    expect(trims).toMatchObject([{ type: 'trim' }, { type: 'trim' }]);
    for (const { call } of trims) trims.push(...step({ type: 'trimmed', call, more: false }));
    expect(trims).toHaveLength(4);
    expect(pass(20)).toMatchObject([{ type: 'trim' }]);
  });

  it('trims a key again when a call has deleted as many rows as it may', () => {
    lead();
    const [trim] = [1, 2, 3].flatMap((timestamp) => put('a', timestamp, 90_000));
    step({ type: 'trimmed', call: trim!.call, more: true });
    expect(pass(30)).toMatchObject([{ type: 'trim', key: 'a' }]);
  });

  it('keeps few untrimmed keys in mind, and searches for the others when these are done', () => {
    const [list] = step({ type: 'elected', token: 7n });
    const [search] = step({ type: 'listed', call: list!.call, versions: [], next: undefined });
    const calls = step({ type: 'searched', call: search!.call, keys: 'abcdefgh'.split(''), next: 'h' });
    for (const call of calls) {
      if (call.type === 'trim') calls.push(...step({ type: 'trimmed', call: call.call, more: false }), ...pass(5_100));
      if (call.type === 'search') {
        const keys = call.after === undefined ? ['h'] : [];
        calls.push(...step({ type: 'searched', call: call.call, keys, next: undefined }));
      }
    }
    const seen = calls.map((call) => (call.type === 'trim' ? call.key : 'after' in call && `behind ${call.after}`));
    expect(seen).toEqual(['e', 'd', 'c', 'b', 'behind h', 'a', 'behind undefined', 'h']);
  });

  it('makes no call while nothing expires, and none after its term', () => {
    lead();
    for (let n = 0; n < 1_000; n += 1) put(`key${n}`, n, 3_600_000);
    expect(core.step({ type: 'tick' }, now)).toEqual([{ type: 'wake', afterMs: 3_600_000 }]);
    expect(pass(10_000)).toEqual([]);
    expect(step({ type: 'ended' })).toEqual([]);
    expect(put('a', 5)).toEqual([]);
    expect(core.size).toBe(0);
    now += 4_000_000;
    expect(step({ type: 'tick' })).toEqual([]);
  });
});
