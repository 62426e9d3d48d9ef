import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../common/identity.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { LockQueue, type QueueNotice } from './lock-queue.core.js';

const LEASE_MS = 3_000;
const pod = (name: string): MemberId => ({ address: `${name}:1`, incarnation: name });

const inWords = (notices: readonly QueueNotice[]): string[] =>
  notices.map(({ to, name, reads }) => `${to.incarnation} ${reads ? 'reads' : 'leaves'} ${name}`);

describe('LockQueue', () => {
  let clock: VirtualClock;
  let queue: LockQueue;

  beforeEach(() => {
    clock = new VirtualClock();
    queue = new LockQueue(LEASE_MS, clock.now());
  });

  const wait = (name: string, waitedMs = 0, lock = 'one'): string[] =>
    inWords(queue.wait(lock, pod(name), waitedMs, clock.now()));
  const leave = (name: string): string[] => inWords(queue.leave('one', name));
  const successor = (): string | undefined => {
    const next = queue.successor('one', clock.now());
    return typeof next === 'object' ? next.incarnation : next;
  };

  it('lets the first two pods read the lease, and the others leave that to them', () => {
    expect(wait('a')).toEqual(['a reads one']);
    expect(wait('b')).toEqual(['b reads one']);
    expect(wait('c')).toEqual(['c leaves one']);
    expect(wait('a', 0, 'another')).toEqual(['a reads another']);
  });

  it('names the pod that waits longest, and keeps it until it leaves', () => {
    for (const name of ['a', 'b', 'c']) wait(name);
    expect([successor(), successor()]).toEqual(['a', 'a']);
    expect(leave('a')).toEqual(['c reads one']);
    expect(successor()).toBe('b');
    expect(leave('unknown')).toEqual([]);
  });

  it('orders pods by their waiting time, so that their places survive a change of the leader', () => {
    wait('young', 10);
    wait('old', 5_000);
    expect(wait('oldest', 9_000)).toEqual(['oldest reads one']);
    expect(successor()).toBe('oldest');
    // It learns with its next report that others have passed it.
    expect(wait('young', 20)).toEqual(['young leaves one']);
  });

  it('keeps the place of a pod that repeats its report', () => {
    wait('a', 10);
    wait('b', 10);
    wait('b', 9_000);
    expect(successor()).toBe('a');
  });

  it('drops pods that are silent for a lease, and lets the next ones read', () => {
    for (const name of ['a', 'b', 'c', 'd']) wait(name);
    clock.advance(LEASE_MS - 1);
    expect(wait('c')).toEqual(['c leaves one']);
    clock.advance(1);
    expect(wait('c')).toEqual(['c reads one']);
    expect(successor()).toBe('c');
  });

  it('drops silent pods of locks for which nobody waits any more', () => {
    wait('a', 0, 'another');
    clock.advance(LEASE_MS);
    wait('a');
    expect(queue.successor('another', clock.now())).toBeUndefined();
  });

  it('drops a pod without a link from all queues', () => {
    for (const name of ['a', 'b', 'c']) {
      wait(name);
      wait(name, 0, 'another');
    }
    expect(inWords(queue.gone('b'))).toEqual(['c reads one', 'c reads another']);
  });

  it('names all pods while it may not have heard of each waiting pod, and then none', () => {
    clock.advance(LEASE_MS - 1);
    expect(successor()).toBe('all');
    clock.advance(1);
    expect(successor()).toBeUndefined();
  });

  it('has room for 50,000 waiting pods, and sends no notice to any further pod', () => {
    for (let count = 0; count < 50_000; count += 1) wait('a', 0, `lock ${count}`);
    expect(wait('a')).toEqual([]);
    queue.leave('lock 7', 'a');
    expect(wait('a')).toEqual(['a reads one']);
  });
});
