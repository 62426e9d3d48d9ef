import { beforeEach, describe, expect, it } from '@jest/globals';
import type { LeaseRecord } from '../database/lease-table.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { LeaseContender, holdsLease } from './lease-contender.core.js';
import type { ContenderEffect, ContenderInput, ContenderSettings } from './lease-contender.messages.js';

const timing = { leaseMs: 3_000, marginMs: 300, renewDeadlineMs: 2_000, retryMs: 100 };
const self = { address: 'a:1', incarnation: 'a' };
const other = { address: 'b:1', incarnation: 'b' };
const ELECTION = { observes: true, campaigns: true, checksSelf: true, readsFirst: true };
const FREE: LeaseRecord = { token: 7n, expiresInMs: 0 };
const heldByOther = (expiresInMs: number): LeaseRecord => ({ holder: other, token: 8n, expiresInMs });

describe('LeaseContender', () => {
  let clock: VirtualClock;
  let contender: LeaseContender;
  let last: readonly ContenderEffect[];

  const step = (input: ContenderInput): readonly ContenderEffect[] => (last = contender.step(input, clock.now()));
  const effect = <Type extends ContenderEffect['type']>(type: Type): Extract<ContenderEffect, { type: Type }> => {
    const found = last.find((one) => one.type === type);
    if (found === undefined) throw new Error(`no effect ${type} among ${last.map((one) => one.type).join()}`);
    return found as Extract<ContenderEffect, { type: Type }>;
  };
  const types = (): string[] => last.map((one) => one.type);
  const holds = (): boolean => {
    const term = contender.currentTerm;
    return term !== undefined && holdsLease(term, timing, clock.now());
  };
  /** Advances the clock to the next `wake`, and ticks. */
  const wake = (): readonly ContenderEffect[] => {
    clock.advance(effect('wake').afterMs);
    return step({ type: 'tick' });
  };
  const make = (settings: Partial<ContenderSettings> = {}): void => {
    clock = new VirtualClock();
    contender = new LeaseContender({ self, timing, ...ELECTION, random: () => 0.5, ...settings });
  };
  const acquire = (token = 10n): void => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: effect('read').attempt, record: FREE });
    step({ type: 'self-checked', attempt: effect('check-self').attempt, reached: true });
    step({ type: 'acquired', attempt: effect('acquire').attempt, result: { acquired: true, token } });
  };
  const announce = (renewals: bigint, from = other, token = 8n): readonly ContenderEffect[] =>
    step({ type: 'renewal-announced', from, marker: { token, renewals } });
  const follow = (): void => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: effect('read').attempt, record: heldByOther(3_000) });
  };
  /** Time passes, and the timers fire that are due. */
  const pass = (ms: number): string[] => {
    const seen: string[] = [];
    const end = clock.now().mono + ms;
    for (let left = ms; left > 0; left = end - clock.now().mono) {
      const afterMs = last.find((one) => one.type === 'wake')?.afterMs ?? Infinity;
      clock.advance(Math.min(left, afterMs));
      if (afterMs <= left) seen.push(...step({ type: 'tick' }).map((one) => one.type));
      else last = last.map((one) => (one.type === 'wake' ? { ...one, afterMs: afterMs - left } : one));
    }
    return seen;
  };

  beforeEach(() => make());

  it('acquires a free lease after it has dialled its own address', () => {
    acquire();
    expect(types()).toEqual(['lease-acquired', 'holder-changed', 'wake']);
    expect(holds()).toBe(true);
  });

  it('does not campaign while its own address does not reach it', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'self-checked', attempt: 2, reached: false });
    expect(types()).toEqual(['wake']);
    wake();
    expect(types()).toContain('read');
  });

  it('L2: counts from the start of an acknowledged renewal, not from its end', () => {
    acquire();
    wake();
    clock.advance(900);
    step({ type: 'renewed', attempt: effect('renew').attempt, result: { renewed: true } });
    clock.advance(1_799);
    expect(holds()).toBe(true);
    clock.advance(1);
    expect(holds()).toBe(false);
  });

  it('L2: counts from the start of a call that waited in a queue', () => {
    make({ checksSelf: false, readsFirst: false });
    step({ type: 'tick' });
    clock.advance(2_500);
    step({ type: 'begun', attempt: 1 });
    step({ type: 'begun', attempt: 7 });
    clock.advance(100);
    step({ type: 'acquired', attempt: 1, result: { acquired: true, token: 10n } });
    expect(contender.currentTerm?.validSince.mono).toBe(2_500);
    clock.advance(2_600);
    expect(holds()).toBe(false);
  });

  it('L2: a wall clock that advanced while the machine slept ends the term', () => {
    acquire();
    clock.jumpWall(2_700);
    expect(holds()).toBe(false);
    step({ type: 'tick' });
    expect(effect('lease-lost')).toMatchObject({ token: 10n, reason: 'expired' });
  });

  it('L2: a wall clock that is set back does not extend the term', () => {
    acquire();
    clock.jumpWall(-60_000);
    clock.advance(2_700);
    expect(holds()).toBe(false);
  });

  it('L2: an acquisition that takes longer than the lease starts no term, and the next one has a new token', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'self-checked', attempt: 2, reached: true });
    clock.advance(2_700);
    step({ type: 'acquired', attempt: 3, result: { acquired: true, token: 10n } });
    expect(contender.currentTerm).toBeUndefined();
    wake();
    step({ type: 'read', attempt: 4, record: { holder: self, token: 10n, expiresInMs: 3_000 } });
    expect(types()).toContain('check-self');
  });

  it('L3: a renewal that succeeds after the step-down does not revive the term', () => {
    acquire();
    wake();
    const { attempt } = effect('renew');
    wake();
    expect(effect('lease-lost')).toMatchObject({ token: 10n, reason: 'renew-deadline' });
    step({ type: 'renewed', attempt, result: { renewed: true } });
    expect(contender.currentTerm).toBeUndefined();
  });

  it('L3: a renewal that succeeds after the term has expired does not revive it, even before any tick', () => {
    acquire();
    wake();
    const { attempt } = effect('renew');
    clock.advance(1_700);
    step({ type: 'renewed', attempt, result: { renewed: true } });
    expect(effect('lease-lost').reason).toBe('expired');
    expect(contender.currentTerm).toBeUndefined();
  });

  it('L3: a refused renewal ends the term at once', () => {
    acquire();
    wake();
    step({ type: 'renewed', attempt: effect('renew').attempt, result: { renewed: false, record: heldByOther(2_000) } });
    expect(effect('lease-lost').reason).toBe('superseded');
    expect(effect('holder-changed').holder).toMatchObject({ member: other, token: 8n });
  });

  it('renews every third of the lease, and retries a failed renewal sooner', () => {
    acquire();
    expect(effect('wake').afterMs).toBe(1_000);
    wake();
    step({ type: 'renewed', attempt: effect('renew').attempt });
    expect(effect('wake').afterMs).toBe(75);
    wake();
    expect(effect('renew').token).toBe(10n);
  });

  it('a failing renewal does not end the term before the renew deadline', () => {
    acquire();
    wake();
    for (let tries = 0; tries < 100 && types().includes('renew'); tries += 1) {
      step({ type: 'renewed', attempt: effect('renew').attempt });
      wake();
    }
    expect(effect('lease-lost').reason).toBe('renew-deadline');
    expect(clock.now().mono).toBe(2_000);
  });

  it('keeps its term when a read of the lease fails, is older than the term, or agrees', () => {
    acquire();
    for (const record of [undefined, heldByOther(1_000), { holder: self, token: 10n, expiresInMs: 2_000 }]) {
      step({ type: 'refresh' });
      step({ type: 'read', attempt: effect('read').attempt, record });
      expect(holds()).toBe(true);
    }
    expect(effect('wake').afterMs).toBe(1_000);
  });

  it('ends its term when a read of the lease contradicts it', () => {
    acquire();
    step({ type: 'observed', record: { holder: other, token: 11n, expiresInMs: 3_000 } });
    expect(effect('lease-lost').reason).toBe('superseded');
  });

  it('acquires at once a lease that its own incarnation holds with an unknown token', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'self-checked', attempt: 2, reached: true });
    step({ type: 'acquired', attempt: 3 });
    expect(types()).toEqual(['wake']);
    wake();
    step({ type: 'read', attempt: 4, record: { holder: self, token: 9n, expiresInMs: 3_000 } });
    step({ type: 'self-checked', attempt: 5, reached: true });
    step({ type: 'acquired', attempt: 6, result: { acquired: true, token: 10n } });
    expect(contender.currentTerm?.token).toBe(10n);
  });

  it('does not announce the release when it resigns because it is unreachable', () => {
    acquire();
    step({ type: 'resign', unreachable: true });
    step({ type: 'drained', token: 10n });
    expect(effect('lease-lost').reason).toBe('unreachable');
    step({ type: 'released', attempt: effect('release').attempt, released: true });
    expect(types()).toEqual(['wake']);
  });

  it('drains while it renews, ends its term, releases, announces, and lets another take over when it resigns', () => {
    acquire();
    step({ type: 'resign' });
    expect(types()).toEqual(['drain', 'wake']);
    expect(contender.handingOver).toBe(true);
    wake();
    step({ type: 'renewed', attempt: effect('renew').attempt, result: { renewed: true } });
    expect(holds()).toBe(true);
    step({ type: 'drained', token: 10n });
    expect(types()).toEqual(['lease-lost', 'release', 'holder-changed']);
    step({ type: 'released', attempt: effect('release').attempt, released: true });
    expect(types()).toEqual(['announce-released', 'wake']);
    let reads = 0;
    for (const start = clock.now().mono; clock.now().mono - start < 2_500; reads += 1) {
      wake();
      step({ type: 'read', attempt: effect('read').attempt, record: { token: 10n, expiresInMs: 0 } });
      expect(types()).not.toContain('check-self');
    }
    expect(reads).toBeGreaterThan(2);
    clock.advance(1_000);
    step({ type: 'tick' });
    step({ type: 'read', attempt: effect('read').attempt, record: { token: 10n, expiresInMs: 0 } });
    expect(types()).toContain('check-self');
  });

  it('campaigns after a resignation as soon as another has led', () => {
    acquire();
    step({ type: 'resign' });
    step({ type: 'drained', token: 10n });
    step({ type: 'released', attempt: effect('release').attempt, released: true });
    wake();
    step({ type: 'read', attempt: effect('read').attempt, record: { holder: other, token: 11n, expiresInMs: 3_000 } });
    step({ type: 'lease-released', token: 11n });
    wake();
    expect(types()).toContain('check-self');
  });

  it('a `drained` of an earlier term does not release this one', () => {
    acquire(10n);
    step({ type: 'resign' });
    clock.advance(2_700);
    step({ type: 'tick' });
    expect(effect('lease-lost').reason).toBe('expired');
    wake();
    step({ type: 'read', attempt: effect('read').attempt, record: { holder: self, token: 10n, expiresInMs: 300 } });
    step({ type: 'self-checked', attempt: effect('check-self').attempt, reached: true });
    step({ type: 'acquired', attempt: effect('acquire').attempt, result: { acquired: true, token: 12n } });
    step({ type: 'resign' });
    step({ type: 'drained', token: 10n });
    expect(holds()).toBe(true);
  });

  it('releases and leaves when it stops as leader, also when the release fails', () => {
    acquire();
    step({ type: 'stop' });
    step({ type: 'drained', token: 10n });
    expect(effect('lease-lost').reason).toBe('stopped');
    step({ type: 'released', attempt: effect('release').attempt });
    wake();
    step({ type: 'released', attempt: effect('release').attempt });
    expect(types()).toEqual(['left', 'read']);
  });

  it('leaves at once when it stops as follower, and keeps following', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: heldByOther(2_000) });
    step({ type: 'stop' });
    expect(types()).toEqual(['left', 'read']);
    step({ type: 'read', attempt: effect('read').attempt, record: { ...heldByOther(2_000), token: 11n } });
    expect(effect('holder-changed').holder?.token).toBe(11n);
  });

  it('never campaigns again after it has left', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'stop' });
    for (let look = 0; look < 5; look += 1) {
      expect(types()).toContain('read');
      step({ type: 'read', attempt: effect('read').attempt, record: FREE });
      step({ type: 'lease-released', token: 20n });
      expect(types()).not.toContain('check-self');
      expect(types()).not.toContain('acquire');
      step({ type: 'read', attempt: contender.attempts });
      wake();
    }
  });

  it.each([
    ['succeeds', { acquired: true, token: 10n } as const],
    ['has an unknown outcome', undefined],
  ])('releases the lease when it stops during an acquisition that %s', (_, result) => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'self-checked', attempt: 2, reached: true });
    step({ type: 'stop' });
    expect(types()).toEqual([]);
    step({ type: 'acquired', attempt: 3, result });
    if (result === undefined) {
      step({ type: 'read', attempt: effect('read').attempt, record: { holder: self, token: 10n, expiresInMs: 3_000 } });
    }
    expect(effect('release').token).toBe(10n);
    step({ type: 'released', attempt: effect('release').attempt, released: true });
    expect(types()).toEqual(['announce-released', 'left', 'read']);
  });

  it('reads the lease when it stops with an acquisition in doubt, and releases it if it holds it', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    step({ type: 'self-checked', attempt: 2, reached: true });
    step({ type: 'acquired', attempt: 3 });
    step({ type: 'stop' });
    expect(types()).not.toContain('left');
    step({ type: 'read', attempt: effect('read').attempt, record: { holder: self, token: 10n, expiresInMs: 3_000 } });
    expect(effect('release').token).toBe(10n);
  });

  it('acquires again at once, once for each token, when it is refused because the row already names it', () => {
    make({ checksSelf: false, readsFirst: false });
    step({ type: 'tick' });
    const result = { acquired: false, record: { holder: self, token: 10n, expiresInMs: 3_000 } } as const;
    step({ type: 'acquired', attempt: 1, result });
    expect(types()).toEqual(['acquire']);
    step({ type: 'acquired', attempt: 2, result });
    expect(types()).toEqual(['wake']);
  });

  it('releases a lease that names it when it stops and the acquisition is refused', () => {
    make({ checksSelf: false, readsFirst: false });
    step({ type: 'tick' });
    step({ type: 'stop' });
    const record = { holder: self, token: 10n, expiresInMs: 3_000 };
    step({ type: 'acquired', attempt: 1, result: { acquired: false, record } });
    expect(effect('release').token).toBe(10n);
  });

  it('reports no holder, and pauses, while an open transaction keeps an expired lease from being acquired', () => {
    make({ checksSelf: false });
    step({ type: 'tick' });
    const acquiredAt: number[] = [];
    const seen: string[] = [];
    for (let round = 0; round < 10; round += 1) {
      step({ type: 'read', attempt: contender.attempts, record: heldByOther(0) });
      seen.push(...types());
      acquiredAt.push(clock.now().mono);
      const record = { token: 8n, expiresInMs: 200 };
      step({ type: 'acquired', attempt: effect('acquire').attempt, result: { acquired: false, record } });
      seen.push(...types());
      wake();
    }
    expect(seen).not.toContain('holder-changed');
    for (const [index, at] of acquiredAt.slice(1).entries())
      expect(at - acquiredAt[index]!).toBeGreaterThanOrEqual(200);
  });

  it('campaigns without a read or a self-check when its settings say so', () => {
    make({ checksSelf: false, readsFirst: false });
    step({ type: 'tick' });
    expect(types()).toEqual(['acquire']);
    step({ type: 'acquired', attempt: 1, result: { acquired: false, record: heldByOther(2_000) } });
    wake();
    expect(types()).toEqual(['read']);
  });

  it('renews at multiples of a third of the lease when its settings give a phase, whenever it acquired the lease', () => {
    make({ checksSelf: false, readsFirst: false, renewalPhaseMs: 0 });
    clock.advance(2_350);
    step({ type: 'tick' });
    step({ type: 'acquired', attempt: 1, result: { acquired: true, token: 10n } });
    wake();
    expect(types()).toContain('renew');
    expect(clock.now().mono).toBe(3_000);
    clock.advance(7.5);
    step({ type: 'renewed', attempt: effect('renew').attempt, result: { renewed: true } });
    wake();
    expect(types()).toContain('renew');
    expect(clock.now().mono).toBe(4_000);
  });

  it('L3: loses a term that was found lapsed, also if it seems valid again', () => {
    acquire(10n);
    step({ type: 'lapsed', token: 9n });
    expect(types()).not.toContain('lease-lost');
    step({ type: 'lapsed', token: 10n });
    expect(effect('lease-lost')).toMatchObject({ token: 10n, reason: 'expired' });
  });

  it('campaigns without a read after a small pause when a release is announced', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: heldByOther(3_000) });
    step({ type: 'lease-released', token: 8n });
    expect(effect('wake').afterMs).toBeLessThanOrEqual(25);
    wake();
    expect(types()).toContain('check-self');
  });

  it('does not read while the leader reports that others read', () => {
    follow();
    step({ type: 'queued', reads: false });
    expect(pass(4_000)).toEqual([]);
    step({ type: 'queued', reads: false });
    expect(pass(2 * timing.leaseMs)).toEqual([]);
    // The leader is silent.
    expect(pass(1_000)).toContain('read');
  });

  it('does not read after an answer that was on its way when the leader reported that others read', () => {
    step({ type: 'tick' });
    step({ type: 'queued', reads: false });
    step({ type: 'read', attempt: 1, record: heldByOther(3_000) });
    expect(pass(2 * timing.leaseMs)).toEqual([]);
  });

  it('reads at once when it becomes one of those that read, and then at its usual pace', () => {
    follow();
    step({ type: 'queued', reads: true });
    expect(types()).toContain('read');
    step({ type: 'read', attempt: effect('read').attempt, record: heldByOther(3_000) });
    const pace = effect('wake').afterMs;
    expect(step({ type: 'queued', reads: true }).map(({ type }) => type)).not.toContain('read');
    expect(effect('wake').afterMs).toBe(pace);
    step({ type: 'queued', reads: false });
    step({ type: 'queued', reads: true });
    expect(types()).toContain('read');
  });

  it('campaigns for a released lease also while others read', () => {
    follow();
    step({ type: 'queued', reads: false });
    step({ type: 'lease-released', token: 8n, successor: 'a' });
    expect(types()).toContain('check-self');
  });

  it('takes no notice of its place in a queue while it holds the lease', () => {
    acquire();
    step({ type: 'queued', reads: true });
    expect(types()).toEqual(['wake']);
    step({ type: 'queued', reads: false });
    expect(pass(timing.leaseMs / 3)).toContain('renew');
  });

  it('campaigns at once when it is the named successor', () => {
    follow();
    step({ type: 'lease-released', token: 8n, successor: 'a' });
    expect(types()).toContain('check-self');
  });

  it('campaigns at once when the successor of an earlier release names it', () => {
    follow();
    step({ type: 'lease-released', token: 8n, successor: 'c' });
    wake();
    step({ type: 'read', attempt: effect('read').attempt, record: { ...heldByOther(3_000), token: 9n } });
    step({ type: 'lease-released', token: 9n, successor: 'a' });
    expect(types()).toContain('check-self');
  });

  it('does not acquire a lease that was released to a successor while it checked its own address', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: effect('read').attempt, record: { token: 8n, expiresInMs: 0 } });
    const { attempt } = effect('check-self');
    step({ type: 'lease-released', token: 8n, successor: 'c' });
    step({ type: 'self-checked', attempt, reached: true });
    expect(types()).toContain('read');
    expect(types()).not.toContain('acquire');
  });

  it('leaves a released lease to the named successor for a moment, and campaigns when it stays free', () => {
    follow();
    step({ type: 'lease-released', token: 8n, successor: 'c' });
    const releasedAt = clock.now().mono;
    wake();
    expect(clock.now().mono - releasedAt).toBeLessThanOrEqual(timing.retryMs);
    while (!types().includes('check-self')) {
      step({ type: 'read', attempt: effect('read').attempt, record: { token: 8n, expiresInMs: 0 } });
      if (!types().includes('check-self')) wake();
    }
    expect(clock.now().mono - releasedAt).toBeGreaterThanOrEqual(timing.leaseMs / 8);
    expect(clock.now().mono - releasedAt).toBeLessThanOrEqual(timing.leaseMs / 4);
  });

  it('reads a released lease again that it was reading when a successor was named', () => {
    follow();
    step({ type: 'refresh' });
    const { attempt } = effect('read');
    step({ type: 'lease-released', token: 8n, successor: 'c' });
    step({ type: 'read', attempt, record: heldByOther(3_000) });
    expect(effect('read').attempt).toBeGreaterThan(attempt);
  });

  /** A send that reaches no leader makes this process read the lease, between its release and the announcement. */
  const readBeforeAnnouncement = (): void => {
    follow();
    announce(1n);
    step({ type: 'refresh' });
    step({ type: 'read', attempt: effect('read').attempt, record: { token: 8n, expiresInMs: 0 } });
  };

  it('does not campaign for a lease that was released a moment ago before it hears who the successor is', () => {
    readBeforeAnnouncement();
    expect(types()).not.toContain('check-self');
    const releasedAt = clock.now().mono;
    while (!types().includes('check-self')) {
      wake();
      if (types().includes('read')) {
        step({ type: 'read', attempt: effect('read').attempt, record: { token: 8n, expiresInMs: 0 } });
      }
    }
    expect(clock.now().mono - releasedAt).toBeGreaterThanOrEqual(timing.leaseMs / 8);
    expect(clock.now().mono - releasedAt).toBeLessThanOrEqual(timing.leaseMs / 4 + timing.retryMs);
  });

  it.each([
    ['names it', 'a', 0],
    ['names no successor', undefined, timing.retryMs / 4],
  ])('campaigns for a lease that it has read as released when the announcement %s', (_, successor, withinMs) => {
    readBeforeAnnouncement();
    step({ type: 'lease-released', token: 8n, successor });
    if (withinMs > 0) {
      expect(effect('wake').afterMs).toBeLessThanOrEqual(withinMs);
      wake();
    }
    expect(types()).toContain('check-self');
  });

  it.each(['a', undefined])(
    'campaigns when a read in flight shows the release that was announced (%s)',
    (successor) => {
      follow();
      announce(1n);
      step({ type: 'refresh' });
      const { attempt } = effect('read');
      step({ type: 'lease-released', token: 8n, successor });
      step({ type: 'read', attempt, record: { token: 8n, expiresInMs: 0 } });
      expect(types()).toContain('check-self');
    },
  );

  it('does not renew earlier or later because the release of an older term is announced with a successor', () => {
    acquire();
    const { afterMs } = effect('wake');
    step({ type: 'lease-released', token: 8n, successor: 'c' });
    expect(effect('wake').afterMs).toBe(afterMs);
  });

  it('names the successor that the end of the drain gives', () => {
    acquire();
    step({ type: 'stop' });
    step({ type: 'drained', token: 10n, successor: 'b' });
    step({ type: 'released', attempt: effect('release').attempt, released: true });
    expect(effect('announce-released')).toEqual({ type: 'announce-released', token: 10n, successor: 'b' });
  });

  it('ignores the announced release of an older term', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: heldByOther(3_000) });
    step({ type: 'lease-released', token: 7n });
    expect(effect('wake').afterMs).toBeGreaterThan(100);
  });

  it('reports no holder once the observed lease has expired and the database does not answer', () => {
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: heldByOther(1_000) });
    expect(effect('holder-changed').holder?.member).toEqual(other);
    for (let tries = 0; tries < 30 && !types().slice(1).includes('holder-changed'); tries += 1) {
      wake();
      step({ type: 'read', attempt: effect('read').attempt });
      if (types().includes('holder-changed')) break;
    }
    expect(effect('holder-changed').holder).toBeUndefined();
    expect(clock.now().mono).toBeGreaterThanOrEqual(1_000);
  });

  it('follows as a client, and does not campaign for a free lease', () => {
    make({ campaigns: false });
    step({ type: 'tick' });
    step({ type: 'read', attempt: 1, record: FREE });
    expect(types()).toEqual(['wake']);
    step({ type: 'lease-released', token: 7n });
    expect(types()).toContain('read');
  });

  it.each([
    ['with a shared clock, at most twice per lease', false, 2],
    ['without one, at least four times per lease', true, 4],
  ])('reads a lease that its holder renews: %s', (_, observes, looks) => {
    make({ observes });
    step({ type: 'tick' });
    let reads = 0;
    const leases = 20;
    while (clock.now().mono < leases * timing.leaseMs) {
      if (types().includes('read')) {
        reads += 1;
        const sinceRenewal = clock.now().mono % (timing.leaseMs / 3);
        step({ type: 'read', attempt: effect('read').attempt, record: heldByOther(timing.leaseMs - sinceRenewal) });
      } else {
        wake();
      }
    }
    if (observes) expect(reads / leases).toBeGreaterThanOrEqual(looks);
    else expect(reads / leases).toBeLessThanOrEqual(looks);
  });

  it('announces each acknowledged renewal, with a higher number each', () => {
    acquire();
    const numbers: bigint[] = [];
    for (let renewal = 0; renewal < 4; renewal += 1) {
      wake();
      const { attempt } = effect('renew');
      const fails = renewal === 1;
      step({ type: 'renewed', attempt, ...(!fails && { result: { renewed: true } }) });
      if (fails) expect(types()).not.toContain('announce-renewed');
      else numbers.push(effect('announce-renewed').marker.renewals);
      expect(contender.currentTerm?.renewals).toBe(numbers.at(-1));
    }
    expect(numbers).toHaveLength(3);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => Number(a - b)));
  });

  describe('while the holder announces its renewals', () => {
    it.each([true, false])(
      'does not read the lease, and observes each of them; without a shared clock: %s',
      (observes) => {
        make({ observes });
        follow();
        for (let renewals = 1n; renewals < 20n; renewals += 1n) {
          announce(renewals);
          expect(effect('observe-renewal').marker).toEqual({ token: 8n, renewals });
          expect(pass(500)).toEqual([]);
          announce(renewals);
          expect(types()).not.toContain('observe-renewal');
          expect(pass(500)).toEqual([]);
        }
      },
    );

    it('reads the lease again when they stay away for a third of it, at the usual pace', () => {
      follow();
      announce(1n);
      expect(pass(900)).toEqual([]);
      expect(pass(100)).toContain('read');
      step({ type: 'read', attempt: contender.attempts, record: heldByOther(2_000) });
      expect(effect('wake').afterMs).toBeLessThanOrEqual(375);
    });

    it('reads the lease when it has expired, although the last renewal is announced again and again', () => {
      follow();
      const seen: string[] = [];
      for (let time = 0; time < 3_200; time += 100) {
        announce(1n);
        seen.push(...pass(100));
      }
      expect(seen).toContain('read');
      expect(clock.now().mono).toBeGreaterThan(3_000);
    });

    it('reads the lease soon after the link to the holder has closed, and not after the end of another link', () => {
      follow();
      announce(1n);
      step({ type: 'link-closed', member: self });
      expect(effect('wake').afterMs).toBeGreaterThan(800);
      step({ type: 'link-closed', member: other });
      expect(effect('wake').afterMs).toBeLessThanOrEqual(timing.leaseMs / 16);
      wake();
      expect(types()).toContain('read');
    });

    it.each([
      ['of another term', () => announce(5n, other, 7n)],
      ['of a member that does not hold it', () => announce(5n, { address: 'c:1', incarnation: 'c' })],
      ['that are older than the last one', () => announce(0n)],
    ])('ignores announcements %s', (_, announces) => {
      follow();
      announce(1n);
      pass(700);
      announces();
      expect(types()).not.toContain('observe-renewal');
      expect(pass(300)).toContain('read');
    });

    it('keeps reading while its own reads fail', () => {
      follow();
      wake();
      step({ type: 'read', attempt: contender.attempts });
      announce(1n);
      expect(types()).toContain('observe-renewal');
      expect(effect('wake').afterMs).toBeLessThanOrEqual(timing.retryMs);
    });

    it('still campaigns at once when a release is announced', () => {
      follow();
      announce(1n);
      step({ type: 'lease-released', token: 8n });
      announce(2n);
      wake();
      expect(types()).toContain('check-self');
    });
  });
});
