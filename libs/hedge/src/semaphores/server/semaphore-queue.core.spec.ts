import { describe, expect, it } from '@jest/globals';
import type { SemaphoreRow } from '../../database/permit-table.js';
import { HedgeError } from '../../common/errors.js';
import { formatPermits, type GrantedPermit, readState } from './permit-row.js';
import { SemaphoreQueue } from './semaphore-queue.core.js';
import type { PermitClaim, SemaphoreEffect, SemaphoreInput, SemaphoreOutcome } from './semaphore-queue.messages.js';
import type { SemaphoreTiming } from '../semaphore-timing.js';

const timing: SemaphoreTiming = {
  permitMs: 1_000,
  marginMs: 100,
  heartbeatMs: 100,
  heardWithinMs: 300,
  graceMs: 100,
  retryMs: 50,
};

const SEMAPHORE = { group: 'g', name: 's' };

const member = (name: string) => ({ address: `${name}:1`, incarnation: name });
const unavailable = new HedgeError('BACKEND_UNAVAILABLE', 'away');

type Write = Extract<SemaphoreEffect, { type: 'write' }>;

/** A leader with a queue, a row and a clock. Calls to the database wait until `answer` or `fail`. */
class Leader {
  now: number;
  row: SemaphoreRow | undefined;
  readonly outcomes = new Map<number, string>();
  readonly tokens = new Map<number, bigint>();
  readonly unknown = new Map<number, readonly string[]>();
  call: 'read' | Write | undefined;
  /** For this long, the database may have lost permits that are valid, as the driver knows. */
  unseenForMs = 0;
  writes = 0;
  #queue: SemaphoreQueue;
  #tickets = 0;
  #wakeAt: number | undefined;

  constructor(row?: SemaphoreRow, now = 0) {
    this.row = row;
    this.now = now;
    this.#queue = new SemaphoreQueue(SEMAPHORE, timing, now);
  }

  get waiting(): number {
    return this.#queue.waiting;
  }

  get held(): string[] {
    return this.row === undefined ? [] : [...readState(SEMAPHORE, this.row).held.keys()];
  }

  acquire(
    id: string,
    { holder = id, ...claim }: Partial<Omit<PermitClaim, 'holder'>> & { holder?: string } = {},
  ): number {
    const full = { id, holder: member(holder), permits: 1, limit: 1, wait: true, waitedMs: 0, ...claim };
    return this.#ask((ticket) => ({ type: 'acquire', ticket, claim: full }));
  }

  release(id: string, holder = id): number {
    return this.#ask((ticket) => ({ type: 'release', ticket, id, holder: member(holder) }));
  }

  renew(holder: string, ...ids: string[]): number {
    return this.#ask((ticket) => ({ type: 'renew', ticket, ids, holder: member(holder) }));
  }

  resize(limit: number): number {
    return this.#ask((ticket) => ({ type: 'resize', ticket, limit }));
  }

  step(input: SemaphoreInput): void {
    for (const effect of this.#queue.step(input, this.now)) {
      if (effect.type === 'settle') this.#settled(effect.ticket, effect.outcome);
      else if (effect.type === 'wake') this.#wakeAt = effect.at;
      else this.#asked(effect.type === 'read' ? 'read' : effect);
    }
  }

  /** Flushes the queue if it is due now. */
  turn(): void {
    while (this.#wakeAt !== undefined && this.#wakeAt <= this.now) {
      this.#wakeAt = undefined;
      this.step({ type: 'flush', unseenForMs: this.unseenForMs });
    }
  }

  /** Performs the call in flight on the row. */
  effect(): SemaphoreInput {
    const { call, row } = this;
    if (call === undefined) throw new Error('no call');
    if (call === 'read') return { type: 'read', row };
    if ((row?.timestamp ?? 0n) !== call.follows) return { type: 'written', result: { written: false, row } };
    this.writes += 1;
    const timestamp = (row?.timestamp ?? 0n) + 10n;
    this.row = { limit: call.limit, value: call.value, timestamp };
    return { type: 'written', result: { written: true, timestamp } };
  }

  answer(): void {
    const input = this.effect();
    this.call = undefined;
    this.step(input);
    this.turn();
  }

  fail(error: unknown = unavailable): void {
    this.call = undefined;
    this.step({ type: 'failed', error, random: 0 });
  }

  /** Answers all calls of the queue. */
  settle(): void {
    this.turn();
    while (this.call !== undefined) this.answer();
  }

  advance(ms: number): void {
    for (const end = this.now + ms; this.now < end;) {
      this.now = Math.min(end, this.#wakeAt ?? end);
      this.settle();
    }
  }

  #ask(input: (ticket: number) => SemaphoreInput): number {
    this.#tickets += 1;
    this.step(input(this.#tickets));
    return this.#tickets;
  }

  #asked(call: 'read' | Write): void {
    if (this.call !== undefined) throw new Error('two calls at once');
    this.call = call;
  }

  #settled(ticket: number, outcome: SemaphoreOutcome | HedgeError): void {
    if (this.outcomes.has(ticket)) throw new Error(`ticket ${ticket} was settled twice`);
    this.outcomes.set(ticket, outcome instanceof HedgeError ? outcome.code : outcome.type);
    if (outcome instanceof HedgeError) return;
    if (outcome.type === 'granted') this.tokens.set(ticket, outcome.token);
    if (outcome.type === 'renewed') this.unknown.set(ticket, outcome.unknown);
  }
}

/** A row of an earlier leader. */
function rowOf(limit: number, ...held: readonly (readonly [id: string, permits?: number])[]): SemaphoreRow {
  const permits = held.map(([id, count = 1]): GrantedPermit => {
    return { id, holder: member(id), permits: count, permitMs: 1_000, token: 5n };
  });
  return { limit, value: formatPermits('g', permits), timestamp: 100n };
}

describe('SemaphoreQueue', () => {
  it('reads the row once, then needs one write for each grant and each release', () => {
    const leader = new Leader();
    const a = leader.acquire('a');
    leader.turn();
    expect(leader.call).toBe('read');
    leader.settle();
    expect([leader.outcomes.get(a), leader.held, leader.writes]).toEqual(['granted', ['a'], 1]);
    const released = leader.release('a');
    leader.settle();
    expect([leader.outcomes.get(released), leader.held, leader.writes]).toEqual(['done', [], 2]);
    leader.acquire('b');
    leader.turn();
    expect(leader.call).not.toBe('read');
  });

  it('S1: grants no more than the limit, in the order of arrival, and grants released permits in the same write', () => {
    const leader = new Leader();
    const tickets = ['a', 'b', 'c', 'd'].map((id) => leader.acquire(id, { limit: 2 }));
    leader.settle();
    expect([leader.held, leader.writes]).toEqual([['a', 'b'], 1]);
    leader.release('a');
    leader.settle();
    expect([leader.held, leader.writes]).toEqual([['b', 'c'], 2]);
    expect(tickets.map((ticket) => leader.outcomes.get(ticket))).toEqual(['granted', 'granted', 'granted', undefined]);
  });

  it('S1: grants nothing after it has learned that the database lost permits which may be valid', () => {
    const leader = new Leader();
    leader.acquire('a');
    leader.settle();
    const next = leader.acquire('b');
    leader.settle();
    leader.unseenForMs = 500;
    leader.release('a');
    leader.settle();
    expect(leader.held).toEqual([]);
    leader.unseenForMs = 0;
    leader.advance(499);
    leader.renew('b', 'b');
    expect(leader.outcomes.get(next)).toBeUndefined();
    leader.advance(1);
    expect(leader.held).toEqual(['b']);
  });

  it('commits all inputs that arrive during a write in one more', () => {
    const leader = new Leader();
    const ids = Array.from({ length: 20 }, (_, index) => `p${index}`);
    leader.acquire('first', { limit: 64 });
    leader.turn();
    leader.answer();
    for (const id of ids) leader.acquire(id, { limit: 64 });
    leader.settle();
    expect([leader.held.length, leader.writes]).toEqual([21, 2]);
  });

  it('does not let later small requests overtake a large one', () => {
    const leader = new Leader();
    leader.acquire('a', { limit: 3, permits: 2 });
    const large = leader.acquire('large', { limit: 3, permits: 3 });
    const small = leader.acquire('small', { limit: 3 });
    leader.settle();
    expect(leader.held).toEqual(['a']);
    leader.release('a');
    leader.settle();
    expect([leader.outcomes.get(large), leader.outcomes.get(small)]).toEqual(['granted', undefined]);
  });

  it('gives each grant a higher token, and keeps it over later writes', () => {
    const leader = new Leader();
    const [a, b] = [leader.acquire('a'), leader.acquire('b')];
    leader.settle();
    leader.release('a');
    leader.settle();
    expect(leader.tokens.get(b)).toBeGreaterThan(leader.tokens.get(a)!);
    const again = leader.acquire('b', { limit: 1 });
    leader.settle();
    expect(leader.tokens.get(again)).toBe(leader.tokens.get(b));
  });

  it('grants a caller that does not wait only if permits are free and no other waits', () => {
    const leader = new Leader();
    const first = leader.acquire('a', { wait: false });
    leader.settle();
    const second = leader.acquire('b', { wait: false });
    leader.settle();
    expect([leader.outcomes.get(first), leader.outcomes.get(second)]).toEqual(['granted', 'not-free']);
    const waits = leader.acquire('c');
    leader.release('a');
    const third = leader.acquire('d', { wait: false });
    leader.settle();
    expect([leader.outcomes.get(waits), leader.outcomes.get(third)]).toEqual(['granted', 'not-free']);
  });

  describe('the limit', () => {
    it('is set by the first caller; another limit is a conflict that names both', () => {
      const leader = new Leader();
      leader.acquire('a', { limit: 2 });
      const other = leader.acquire('b', { limit: 3 });
      leader.settle();
      expect([leader.row?.limit, leader.outcomes.get(other), leader.held]).toEqual([2, 'CONFLICT', ['a']]);
    });

    it('grants more to waiting callers when it grows, also if they requested the old one', () => {
      const leader = new Leader();
      leader.acquire('a');
      const b = leader.acquire('b');
      leader.settle();
      const resized = leader.resize(2);
      leader.settle();
      expect([leader.outcomes.get(resized), leader.outcomes.get(b), leader.row?.limit]).toEqual(['done', 'granted', 2]);
    });

    it('S1: can shrink below the held permits, and then grants only after enough were released', () => {
      const leader = new Leader();
      for (const id of ['a', 'b', 'c']) leader.acquire(id, { limit: 3 });
      leader.settle();
      leader.resize(1);
      leader.settle();
      const d = leader.acquire('d', { limit: 1 });
      leader.release('a');
      leader.release('b');
      leader.settle();
      expect(leader.outcomes.get(d)).toBeUndefined();
      leader.release('c');
      leader.settle();
      expect([leader.outcomes.get(d), leader.held]).toEqual(['granted', ['d']]);
    });

    it('rejects waiting callers that request more than a smaller limit', () => {
      const leader = new Leader();
      leader.acquire('a', { limit: 3 });
      const many = leader.acquire('many', { limit: 3, permits: 3 });
      leader.settle();
      leader.resize(2);
      leader.settle();
      expect(leader.outcomes.get(many)).toBe('INVALID_ARGUMENT');
    });

    it('is not written when it stays the same', () => {
      const leader = new Leader(rowOf(2));
      const resized = leader.resize(2);
      leader.settle();
      expect([leader.outcomes.get(resized), leader.writes]).toEqual(['done', 0]);
    });
  });

  describe('releases', () => {
    it('S3: change nothing when repeated, or for permits that were never held', () => {
      const leader = new Leader(rowOf(2, ['a'], ['b']));
      const tickets = [leader.release('a'), leader.release('a'), leader.release('ghost')];
      leader.settle();
      expect([leader.held, leader.writes]).toEqual([['b'], 1]);
      tickets.push(leader.release('a'));
      leader.settle();
      expect([leader.held, leader.writes]).toEqual([['b'], 1]);
      expect(tickets.map((ticket) => leader.outcomes.get(ticket))).toEqual(['done', 'done', 'done', 'done']);
    });

    it('S3: are rejected for permits of another member', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const foreign = leader.release('a', 'thief');
      leader.settle();
      expect([leader.outcomes.get(foreign), leader.held]).toEqual(['INVALID_ARGUMENT', ['a']]);
    });

    it('S3: do not block the owner when another member tries to release its permit', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const [foreign, own] = [leader.release('a', 'thief'), leader.release('a')];
      leader.settle();
      const outcomes = [foreign, own].map((ticket) => leader.outcomes.get(ticket));
      // Handled in the order of arrival: the first one while the permit was there.
      expect([outcomes, leader.held]).toEqual([['INVALID_ARGUMENT', 'done'], []]);
    });

    it('remove a waiting request from the queue', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      leader.settle();
      leader.release('b');
      leader.release('a');
      leader.settle();
      expect([leader.waiting, leader.held]).toEqual([0, []]);
    });
  });

  describe('callers that stop waiting', () => {
    it('leave the queue', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const b = leader.acquire('b');
      const c = leader.acquire('c');
      leader.settle();
      leader.step({ type: 'abandoned', ticket: b });
      leader.release('a');
      leader.advance(timing.graceMs);
      expect([leader.held, leader.outcomes.get(c)]).toEqual([['c'], 'granted']);
    });

    it('lose a grant that is being written: the next caller gets it', () => {
      const leader = new Leader();
      const a = leader.acquire('a');
      const b = leader.acquire('b');
      leader.turn();
      leader.answer();
      leader.step({ type: 'abandoned', ticket: a });
      leader.settle();
      expect([leader.held, leader.outcomes.has(a), leader.outcomes.get(b)]).toEqual([['b'], false, 'granted']);
    });
  });

  describe('holders that are not heard', () => {
    it('S2: lose their permits after their time, not before', () => {
      const leader = new Leader();
      leader.acquire('a');
      leader.settle();
      const b = leader.acquire('b');
      for (let beat = 0; beat < 9; beat += 1) {
        leader.advance(100);
        leader.renew('b', 'b');
      }
      leader.advance(99);
      expect(leader.held).toEqual(['a']);
      leader.advance(1);
      expect([leader.held, leader.outcomes.get(b)]).toEqual([['b'], 'granted']);
    });

    it('S1: keep their permits as long as they renew', () => {
      const leader = new Leader();
      leader.acquire('a');
      for (let beat = 0; beat < 30; beat += 1) {
        leader.advance(100);
        leader.renew('a', 'a');
      }
      leader.advance(999);
      expect(leader.held).toEqual(['a']);
    });

    it('S1: keep permits of an earlier term for a whole time from the start of the new term', () => {
      const leader = new Leader(rowOf(1, ['a']), 5_000);
      leader.acquire('b', { wait: false });
      leader.settle();
      leader.advance(999);
      expect(leader.held).toEqual(['a']);
      leader.advance(1);
      expect(leader.held).toEqual([]);
    });

    it('S2: are counted from the start of the term, also when the first request arrives much later', () => {
      const leader = new Leader(rowOf(1, ['a']), 5_000);
      leader.now = 50_000;
      const b = leader.acquire('b', { wait: false });
      leader.settle();
      expect(leader.outcomes.get(b)).toBe('granted');
    });

    it('S2: are granted nothing, while callers behind them are', () => {
      const leader = new Leader();
      leader.acquire('a');
      const silent = leader.acquire('silent');
      leader.settle();
      leader.advance(timing.heardWithinMs);
      const heard = leader.acquire('heard');
      leader.release('a');
      leader.settle();
      expect([leader.outcomes.get(silent), leader.outcomes.get(heard)]).toEqual([undefined, 'granted']);
      leader.renew('silent', 'silent');
      leader.release('heard');
      leader.settle();
      expect(leader.outcomes.get(silent)).toBe('granted');
    });

    it('S2: are granted nothing after their link broke', () => {
      const leader = new Leader();
      leader.acquire('a');
      const b = leader.acquire('b');
      leader.settle();
      leader.step({ type: 'unlinked', holder: member('b') });
      leader.release('a');
      leader.settle();
      expect(leader.held).toEqual([]);
      leader.renew('b', 'b');
      leader.settle();
      expect(leader.outcomes.get(b)).toBe('granted');
    });
  });

  describe('renewals', () => {
    it('report permits that are no longer held, and no waiting ones', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      const first = leader.renew('a', 'a', 'gone');
      expect(leader.outcomes.has(first)).toBe(false);
      leader.settle();
      const second = leader.renew('b', 'b', 'a');
      expect([leader.unknown.get(first), leader.unknown.get(second)]).toEqual([['gone'], ['a']]);
    });

    it('S1: do not confirm permits that a write in flight revokes', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b', { wait: false });
      leader.settle();
      leader.now += 1_000;
      leader.turn();
      expect(leader.call).toMatchObject({ type: 'write' });
      const late = leader.renew('a', 'a');
      expect(leader.unknown.get(late)).toEqual(['a']);
      leader.fail();
      const later = leader.renew('a', 'a');
      expect(leader.unknown.get(later)).toEqual(['a']);
    });
  });

  describe('a write of unknown outcome', () => {
    it('that took effect is found by a read, and its grant is reported once', () => {
      const leader = new Leader();
      const a = leader.acquire('a');
      leader.turn();
      leader.answer();
      leader.effect();
      leader.fail();
      expect(leader.outcomes.has(a)).toBe(false);
      leader.advance(timing.retryMs);
      expect([leader.outcomes.get(a), leader.held, leader.writes]).toEqual(['granted', ['a'], 1]);
    });

    it('S1: that takes effect after the row was read again makes the next write fail, and is found then', () => {
      const leader = new Leader();
      const a = leader.acquire('a');
      leader.turn();
      leader.answer();
      const late = leader.call as Write;
      leader.fail();
      leader.now += timing.retryMs;
      leader.turn();
      leader.answer();
      // The read found no change; now the first write takes effect, then the second is attempted.
      leader.row = { limit: late.limit, value: late.value, timestamp: 10n };
      leader.settle();
      expect([leader.outcomes.get(a), leader.tokens.get(a), leader.held]).toEqual(['granted', 10n, ['a']]);
    });

    it('is undone when its caller has stopped waiting', () => {
      const leader = new Leader();
      const a = leader.acquire('a');
      leader.turn();
      leader.answer();
      leader.effect();
      leader.fail();
      leader.step({ type: 'abandoned', ticket: a });
      leader.advance(timing.retryMs);
      expect(leader.held).toEqual([]);
    });

    it('S1: that finds an older row grants nothing while lost permits may be valid', () => {
      const leader = new Leader(rowOf(2));
      const a = leader.acquire('a', { limit: 2 });
      leader.settle();
      expect(leader.outcomes.get(a)).toBe('granted');
      // The database loses the write that granted it.
      leader.row = rowOf(2);
      const [b, c] = [leader.acquire('b', { limit: 2 }), leader.acquire('c', { limit: 2 })];
      leader.settle();
      leader.advance(timing.permitMs - 1);
      leader.renew('b', 'b');
      leader.renew('c', 'c');
      expect([leader.outcomes.get(b), leader.outcomes.get(c)]).toEqual([undefined, undefined]);
      leader.advance(1);
      expect([leader.outcomes.get(b), leader.outcomes.get(c)]).toEqual(['granted', 'granted']);
    });

    it('S1: that another leader has fenced sends all callers to that leader', () => {
      const leader = new Leader();
      const tickets = [leader.acquire('a'), leader.acquire('b')];
      leader.turn();
      leader.answer();
      tickets.push(leader.renew('c', 'c'));
      leader.fail(new HedgeError('LEASE_LOST', 'another token'));
      tickets.push(leader.release('a'));
      expect(tickets.map((ticket) => leader.outcomes.get(ticket))).toEqual([
        'NOT_LEADER',
        'NOT_LEADER',
        'renewed',
        'NOT_LEADER',
      ]);
    });
  });

  describe('a new leader', () => {
    it('recognises a grant that its caller requests again', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const a = leader.acquire('a', { waitedMs: 700 });
      leader.settle();
      expect([leader.outcomes.get(a), leader.tokens.get(a), leader.writes]).toEqual(['granted', 5n, 0]);
    });

    it('S3: grants no caller a permit of another member with the same id', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const thief = leader.acquire('a', { holder: 'thief' });
      leader.settle();
      expect(leader.outcomes.get(thief)).toBe('INVALID_ARGUMENT');
    });

    it('S3: lets no caller remove another from the queue by its id', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      const thief = leader.acquire('b', { holder: 'thief' });
      leader.settle();
      expect([leader.outcomes.get(thief), leader.waiting]).toEqual(['INVALID_ARGUMENT', 1]);
    });

    it('serves the callers that waited longest under the last leader first, and gives them time to ask again', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const late = leader.acquire('late', { waitedMs: 10 });
      leader.release('a');
      leader.settle();
      expect(leader.held).toEqual([]);
      leader.now += 50;
      const early = leader.acquire('early', { waitedMs: 500 });
      leader.advance(50);
      expect([leader.outcomes.get(early), leader.outcomes.get(late)]).toEqual(['granted', undefined]);
    });

    it('grants at once when no caller can have waited', () => {
      const leader = new Leader(rowOf(2, ['a']));
      const b = leader.acquire('b', { limit: 2 });
      leader.settle();
      expect(leader.outcomes.get(b)).toBe('granted');
    });
  });

  it('sends waiting callers to the next leader when it drains, and still handles renewals and releases', () => {
    const leader = new Leader(rowOf(2, ['a'], ['b']));
    const c = leader.acquire('c', { limit: 2 });
    leader.settle();
    leader.step({ type: 'drain', error: new HedgeError('NOT_LEADER', 'handing over') });
    expect(leader.outcomes.get(c)).toBe('NOT_LEADER');
    const [renewal, release] = [leader.renew('a', 'a'), leader.release('b')];
    leader.settle();
    expect([leader.unknown.get(renewal), leader.outcomes.get(release), leader.held]).toEqual([[], 'done', ['a']]);
  });

  it('S2: revokes, when it drains, what a write in flight grants to a caller that it has sent away', () => {
    const leader = new Leader();
    const a = leader.acquire('a');
    leader.turn();
    leader.answer();
    leader.step({ type: 'drain', error: new HedgeError('NOT_LEADER', 'handing over') });
    leader.settle();
    expect([leader.outcomes.get(a), leader.writes, leader.held]).toEqual(['NOT_LEADER', 2, []]);
  });

  it('sends waiting callers to the next leader when it ends', () => {
    const leader = new Leader(rowOf(1, ['a']));
    const b = leader.acquire('b');
    leader.settle();
    leader.step({ type: 'end', error: new HedgeError('NOT_LEADER', 'handing over') });
    const c = leader.acquire('c');
    expect([leader.outcomes.get(b), leader.outcomes.get(c)]).toEqual(['NOT_LEADER', 'NOT_LEADER']);
  });

  it.each([
    ['it cannot read', { limit: 1, value: 'x', timestamp: 7n }],
    ['is another group’s, whose leader hears other members', { ...rowOf(1), value: formatPermits('other', []) }],
  ])('S1: rejects requests on a row that %s', (_what, row) => {
    const leader = new Leader(row);
    const a = leader.acquire('a');
    leader.settle();
    expect([leader.outcomes.get(a), leader.writes]).toEqual(['CONFLICT', 0]);
  });
});
