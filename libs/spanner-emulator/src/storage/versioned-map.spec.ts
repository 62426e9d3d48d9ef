import { describe, expect, it } from '@jest/globals';
import { VersionedMap } from './versioned-map.js';

const ALL = { start: '', end: '\uffff' };

const filled = (): VersionedMap<string> => {
  const map = new VersionedMap<string>();
  map.put('a', 1n, 'a1');
  map.put('b', 2n, 'b2');
  map.put('a', 3n, undefined);
  map.put('a', 5n, 'a5');
  return map;
};

describe('VersionedMap', () => {
  it('returns the values of each time', () => {
    const map = filled();
    const at = (time?: bigint) => Array.from(map.scan(ALL, time), ([, value]) => value);
    expect([0n, 1n, 2n, 3n, 4n, 5n, undefined].map(at)).toEqual([
      [],
      ['a1'],
      ['a1', 'b2'],
      ['b2'],
      ['b2'],
      ['a5', 'b2'],
      ['a5', 'b2'],
    ]);
  });

  it('drops only versions that cannot be read any more', () => {
    const map = filled();
    map.put('b', 6n, undefined);
    map.collect(4n);
    expect(map.get('a', 4n)).toBeUndefined();
    expect(map.get('a')).toBe('a5');
    expect(map.get('b', 5n)).toBe('b2');
    map.collect(6n);
    expect(Array.from(map.history(), ([key, versions]) => [key, versions.length])).toEqual([['a', 1]]);
  });
});
