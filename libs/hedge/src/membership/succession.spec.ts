import { describe, expect, it } from '@jest/globals';
import { compareAppVersions, isAppVersion, newestOf } from './succession.js';

const OLDEST_FIRST = [
  '',
  '0.9.12',
  '1.0.0-alpha',
  '1.0.0-alpha.1',
  '1.0.0-alpha.beta',
  '1.0.0-beta',
  '1.0.0-beta.2',
  '1.0.0-beta.11',
  '1.0.0-rc.1',
  '1.0.0',
  '1.9.3',
  '1.10',
  'v2.0.1',
  '1482',
  '20261130.7',
  '20261130.12',
];

describe('the order of app versions', () => {
  it('is the one of Semantic Versioning, with any count of numbers', () => {
    for (const [index, one] of OLDEST_FIRST.entries()) {
      for (const [other, text] of OLDEST_FIRST.entries()) {
        expect([one, text, Math.sign(compareAppVersions(one, text))]).toEqual([one, text, Math.sign(index - other)]);
      }
    }
  });

  it.each([
    ['1.4', '1.4.0'],
    ['v1.4.2', '1.4.2'],
    ['1.4.2+build.7', '1.4.2+build.8'],
    ['007', '7'],
  ])('%s and %s are the same', (one, other) => {
    expect(compareAppVersions(one, other)).toBe(0);
  });

  it('has no place for a commit hash, a name or a text without an end', () => {
    for (const text of ['9fceb02', 'latest', '', '1.', '1.2.3-', '1..2', '1.2 ', '1'.repeat(65)]) {
      expect([text, isAppVersion(text)]).toEqual([text, false]);
    }
    for (const text of OLDEST_FIRST.slice(1)) expect([text, isAppVersion(text)]).toEqual([text, true]);
  });
});

function candidate(incarnation: string, appVersion: string, startedAt: number) {
  return { member: { address: `${incarnation}:1`, incarnation }, appVersion, startedAt };
}

describe('newestOf', () => {
  const candidates = [candidate('a', '1.9', 30), candidate('b', '1.10', 10), candidate('c', '1.10', 20)];

  it('prefers the newest version, and of that the pod that started last', () => {
    expect(newestOf(candidates, true)?.member.incarnation).toBe('c');
  });

  it('prefers the pod that started last when versions do not count', () => {
    expect(newestOf(candidates, false)?.member.incarnation).toBe('a');
  });

  it('finds nobody in an empty group', () => {
    expect(newestOf([], true)).toBeUndefined();
  });
});
