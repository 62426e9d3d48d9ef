import { describe, expect, it } from '@jest/globals';
import { WatchNotices, type Notice, type WatchScope } from './watch-notices.core.js';

const prefix = (text: string): WatchScope => ({ prefix: text, exact: false });
const key = (text: string): WatchScope => ({ prefix: text, exact: true });

const ask = (notices: WatchNotices, ticket: number, seen: number | undefined, ...scopes: WatchScope[]) =>
  notices.step({ type: 'ask', ticket, seen, scopes });
const commit = (notices: WatchNotices, ...keys: string[]): readonly Notice[] =>
  notices.step({ type: 'committed', keys });

describe('notices of commits', () => {
  it('answer a first call at once, and the next one with the next commit in one of its scopes', () => {
    const notices = new WatchNotices();
    commit(notices, 'a/1');
    expect(ask(notices, 1, undefined, prefix('a/'))).toEqual([{ ticket: 1, seen: 1, touched: 'all' }]);
    expect(ask(notices, 2, 1, prefix('b/'), prefix('a/'), key('a/2'))).toEqual([]);
    expect(ask(notices, 3, 1, key('a/'))).toEqual([]);
    expect(commit(notices, 'c', 'a')).toEqual([]);
    expect(commit(notices, 'a/2', 'a/3')).toEqual([{ ticket: 2, seen: 3, touched: [1, 2] }]);
    expect(commit(notices, 'a/2')).toEqual([]);
    expect(commit(notices, 'a/')).toEqual([{ ticket: 3, seen: 5, touched: [0] }]);
  });

  it('remember the commits between two calls', () => {
    const notices = new WatchNotices();
    ask(notices, 1, undefined);
    commit(notices, 'x');
    commit(notices, 'a');
    expect(ask(notices, 2, 0, prefix('b'), key('a'))).toEqual([{ ticket: 2, seen: 2, touched: [1] }]);
    expect(ask(notices, 3, 2, key('a'))).toEqual([]);
  });

  it('report all scopes when the commits are forgotten, or belong to another process', () => {
    for (const limits of [
      { maxCommits: 2, maxCharacters: 100 },
      { maxCommits: 100, maxCharacters: 2 },
    ]) {
      const notices = new WatchNotices(limits);
      for (const one of ['a', 'b', 'c']) commit(notices, one);
      expect(ask(notices, 1, 0, key('z'))).toEqual([{ ticket: 1, seen: 3, touched: 'all' }]);
      expect(ask(notices, 2, 1, key('z'))).toEqual([]);
      expect(ask(notices, 3, 4, key('z'))).toEqual([{ ticket: 3, seen: 3, touched: 'all' }]);
      commit(notices, 'a key that is longer than all that is remembered');
      expect(ask(notices, 4, 3, key('z'))).toEqual(
        limits.maxCharacters === 2 ? [{ ticket: 4, seen: 4, touched: 'all' }] : [],
      );
    }
  });

  it('answer a call that ends once, with nothing touched', () => {
    const notices = new WatchNotices();
    ask(notices, 1, 0, key('a'));
    expect(notices.step({ type: 'end', ticket: 1 })).toEqual([{ ticket: 1, seen: 0, touched: [] }]);
    expect(notices.step({ type: 'end', ticket: 1 })).toEqual([]);
    expect(commit(notices, 'a')).toEqual([]);
  });
});
