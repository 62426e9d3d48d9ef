import { describe, expect, it } from '@jest/globals';
import { hostOf, PendingByHost } from './pending-by-host.js';

const admitted = (...displaced: string[]) => ({ admitted: true, displaced });
const refused = (...displaced: string[]) => ({ admitted: false, displaced });

describe('PendingByHost', () => {
  it('displaces the oldest item of a host that has too many', () => {
    const pending = new PendingByHost<string>({ perHost: 2, total: 10, graceMs: 0 });
    expect(pending.add('a', 'a1', 0)).toEqual(admitted());
    expect(pending.add('b', 'b1', 0)).toEqual(admitted());
    expect(pending.add('a', 'a2', 0)).toEqual(admitted());
    expect(pending.add('a', 'a3', 0)).toEqual(admitted('a1'));
    expect([...pending].sort()).toEqual(['a2', 'a3', 'b1']);
  });

  it('displaces the oldest item of the host with the most when the total is too large', () => {
    const pending = new PendingByHost<string>({ perHost: 3, total: 4, graceMs: 0 });
    for (const item of ['b1', 'a1', 'a2', 'a3']) pending.add(item.slice(0, 1), item, 0);
    expect(pending.add('c', 'c1', 0)).toEqual(admitted('a1'));
    expect(pending.add('d', 'd1', 0)).toEqual(admitted('a2'));
  });

  it('leaves each item the time of an honest handshake, and refuses the newcomer until then', () => {
    const pending = new PendingByHost<string>({ perHost: 1, total: 10, graceMs: 100 });
    pending.add('a', 'a1', 0);
    expect(pending.add('a', 'a2', 99)).toEqual(refused());
    expect(pending.add('b', 'b1', 99)).toEqual(admitted());
    expect(pending.add('a', 'a3', 100)).toEqual(admitted('a1'));
  });

  it('admits a host that holds less at once, and displaces an item of the host that holds the most', () => {
    const pending = new PendingByHost<string>({ perHost: 3, total: 3, graceMs: 100 });
    for (const item of ['a1', 'a2', 'a3']) pending.add('a', item, 0);
    expect(pending.add('b', 'b1', 0)).toEqual(admitted('a1'));
    expect(pending.add('b', 'b2', 0)).toEqual(refused());
  });

  it('counts weights, and displaces as many items as necessary', () => {
    const pending = new PendingByHost<string>({ perHost: 10, total: 15, graceMs: 0 });
    pending.add('a', 'a1', 0, 4);
    pending.add('a', 'a2', 0, 4);
    expect(pending.add('a', 'a3', 0, 7)).toEqual(admitted('a1', 'a2'));
    expect(pending.add('b', 'b1', 0, 8)).toEqual(admitted());
    expect(pending.add('c', 'c1', 0, 1)).toEqual(admitted('b1'));
  });

  it('refuses an item larger than the whole limit', () => {
    const pending = new PendingByHost<string>({ perHost: 10, total: 15, graceMs: 0 });
    expect(pending.add('a', 'a1', 0, 11)).toEqual(refused());
  });

  it('frees the room of a deleted item exactly once', () => {
    const pending = new PendingByHost<string>({ perHost: 2, total: 2, graceMs: 100 });
    pending.add('a', 'a1', 0, 2);
    pending.delete('a', 'a1');
    pending.delete('a', 'a1');
    expect(pending.add('b', 'b1', 0, 2)).toEqual(admitted());
    expect([...pending]).toEqual(['b1']);
  });
});

describe('hostOf', () => {
  it.each([
    ['10.1.2.3:51000', '10.1.2.3'],
    ['::ffff:10.1.2.3:51000', '10.1.2.3'],
    ['a:1', 'a'],
    ['2001:db8:1:2:3:4:5:6:51000', '2001:db8:1:2::/64'],
    ['2001:db8::7:51000', '2001:db8:0:0::/64'],
    ['::1:51000', '0:0:0:0::/64'],
    ['[fd00::7]:51000', 'fd00:0:0:0::/64'],
    ['fe80::1%eth0:51000', 'fe80:0:0:0::/64'],
  ])('%s is on host %s', (remote, host) => {
    expect(hostOf(remote)).toBe(host);
  });
});
