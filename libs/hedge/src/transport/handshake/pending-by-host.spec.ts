import { describe, expect, it } from '@jest/globals';
import { hostOf, PendingByHost } from './pending-by-host.js';

const taken = (...displaced: string[]) => ({ taken: true, displaced });
const refused = (...displaced: string[]) => ({ taken: false, displaced });

describe('PendingByHost', () => {
  it('displaces the oldest of the same host when a host has too many', () => {
    const pending = new PendingByHost<string>({ perHost: 2, total: 10, graceMs: 0 });
    expect(pending.add('a', 'a1', 0)).toEqual(taken());
    expect(pending.add('b', 'b1', 0)).toEqual(taken());
    expect(pending.add('a', 'a2', 0)).toEqual(taken());
    expect(pending.add('a', 'a3', 0)).toEqual(taken('a1'));
    expect([...pending].sort()).toEqual(['a2', 'a3', 'b1']);
  });

  it('displaces the oldest of the host that has the most when there are too many in all', () => {
    const pending = new PendingByHost<string>({ perHost: 3, total: 4, graceMs: 0 });
    for (const item of ['b1', 'a1', 'a2', 'a3']) pending.add(item.slice(0, 1), item, 0);
    expect(pending.add('c', 'c1', 0)).toEqual(taken('a1'));
    expect(pending.add('d', 'd1', 0)).toEqual(taken('a2'));
  });

  it('leaves each the time of an honest handshake, and refuses the newcomer until then', () => {
    const pending = new PendingByHost<string>({ perHost: 1, total: 10, graceMs: 100 });
    pending.add('a', 'a1', 0);
    expect(pending.add('a', 'a2', 99)).toEqual(refused());
    expect(pending.add('b', 'b1', 99)).toEqual(taken());
    expect(pending.add('a', 'a3', 100)).toEqual(taken('a1'));
  });

  it('lets a host that holds less in at once, at the cost of the one that holds the most', () => {
    const pending = new PendingByHost<string>({ perHost: 3, total: 3, graceMs: 100 });
    for (const item of ['a1', 'a2', 'a3']) pending.add('a', item, 0);
    expect(pending.add('b', 'b1', 0)).toEqual(taken('a1'));
    expect(pending.add('b', 'b2', 0)).toEqual(refused());
  });

  it('counts weights, and displaces as many as it takes', () => {
    const pending = new PendingByHost<string>({ perHost: 10, total: 15, graceMs: 0 });
    pending.add('a', 'a1', 0, 4);
    pending.add('a', 'a2', 0, 4);
    expect(pending.add('a', 'a3', 0, 7)).toEqual(taken('a1', 'a2'));
    expect(pending.add('b', 'b1', 0, 8)).toEqual(taken());
    expect(pending.add('c', 'c1', 0, 1)).toEqual(taken('b1'));
  });

  it('refuses what is larger than all that there is', () => {
    const pending = new PendingByHost<string>({ perHost: 10, total: 15, graceMs: 0 });
    expect(pending.add('a', 'a1', 0, 11)).toEqual(refused());
  });

  it('makes room again when something ends, once', () => {
    const pending = new PendingByHost<string>({ perHost: 2, total: 2, graceMs: 100 });
    pending.add('a', 'a1', 0, 2);
    pending.delete('a', 'a1');
    pending.delete('a', 'a1');
    expect(pending.add('b', 'b1', 0, 2)).toEqual(taken());
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
  ])('%s calls from %s', (remote, host) => {
    expect(hostOf(remote)).toBe(host);
  });
});
