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

/** A leader by hand: its queue, the row, and a clock. Calls to the database wait until `answer` or `fail`. */
class Leader {
  now: number;
  row: SemaphoreRow | undefined;
  readonly outcomes = new Map<number, string>();
  readonly tokens = new Map<number, bigint>();
  readonly unknown = new Map<number, readonly string[]>();
  call: 'read' | Write | undefined;
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

  /** Runs what is due now. */
  turn(): void {
    while (this.#wakeAt !== undefined && this.#wakeAt <= this.now) {
      this.#wakeAt = undefined;
      this.step({ type: 'flush' });
    }
  }

  /** What the database does with the call in flight. */
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

  /** Answers all that the queue asks for now. */
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

/** A row as an earlier leader left it. */
function rowOf(limit: number, ...held: readonly (readonly [id: string, permits?: number])[]): SemaphoreRow {
  const permits = held.map(([id, count = 1]): GrantedPermit => {
    return { id, holder: member(id), permits: count, permitMs: 1_000, token: 5n };
  });
  return { limit, value: formatPermits('g', permits), timestamp: 100n };
}

describe('semaphore queue', () => {
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

  it('S1: grants no more than the limit, in the order of arrival, and hands over in the write that releases', () => {
    const leader = new Leader();
    const tickets = ['a', 'b', 'c', 'd'].map((id) => leader.acquire(id, { limit: 2 }));
    leader.settle();
    expect([leader.held, leader.writes]).toEqual([['a', 'b'], 1]);
    leader.release('a');
    leader.settle();
    expect([leader.held, leader.writes]).toEqual([['b', 'c'], 2]);
    expect(tickets.map((ticket) => leader.outcomes.get(ticket))).toEqual(['granted', 'granted', 'granted', undefined]);
  });

  it('commits what comes during a write in one more', () => {
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

  it('gives tokens that rise with each hand-over, and keeps that of a grant over later writes', () => {
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

  it('takes no permits for who does not wait, unless they are free and nobody else waits', () => {
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
    it('is set by the first; another one is a conflict that names both', () => {
      const leader = new Leader();
      leader.acquire('a', { limit: 2 });
      const other = leader.acquire('b', { limit: 3 });
      leader.settle();
      expect([leader.row?.limit, leader.outcomes.get(other), leader.held]).toEqual([2, 'CONFLICT', ['a']]);
    });

    it('grows: those who wait are woken, though they asked with the old one', () => {
      const leader = new Leader();
      leader.acquire('a');
      const b = leader.acquire('b');
      leader.settle();
      const resized = leader.resize(2);
      leader.settle();
      expect([leader.outcomes.get(resized), leader.outcomes.get(b), leader.row?.limit]).toEqual(['done', 'granted', 2]);
    });

    it('S1: shrinks below what is held, and grants only when that many have come back', () => {
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

    it('turns those away who wait for more than there will be', () => {
      const leader = new Leader();
      leader.acquire('a', { limit: 3 });
      const many = leader.acquire('many', { limit: 3, permits: 3 });
      leader.settle();
      leader.resize(2);
      leader.settle();
      expect(leader.outcomes.get(many)).toBe('INVALID_ARGUMENT');
    });

    it('writes nothing when it stays as it is', () => {
      const leader = new Leader(rowOf(2));
      const resized = leader.resize(2);
      leader.settle();
      expect([leader.outcomes.get(resized), leader.writes]).toEqual(['done', 0]);
    });
  });

  describe('releases', () => {
    it('S3: again, or of what was never held, change nothing', () => {
      const leader = new Leader(rowOf(2, ['a'], ['b']));
      const tickets = [leader.release('a'), leader.release('a'), leader.release('ghost')];
      leader.settle();
      expect([leader.held, leader.writes]).toEqual([['b'], 1]);
      tickets.push(leader.release('a'));
      leader.settle();
      expect([leader.held, leader.writes]).toEqual([['b'], 1]);
      expect(tickets.map((ticket) => leader.outcomes.get(ticket))).toEqual(['done', 'done', 'done', 'done']);
    });

    it('S3: of another member’s permit are refused', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const foreign = leader.release('a', 'thief');
      leader.settle();
      expect([leader.outcomes.get(foreign), leader.held]).toEqual(['INVALID_ARGUMENT', ['a']]);
    });

    it('S3: of another member’s permit do not keep the owner from releasing it', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const [foreign, own] = [leader.release('a', 'thief'), leader.release('a')];
      leader.settle();
      const outcomes = [foreign, own].map((ticket) => leader.outcomes.get(ticket));
      // Judged in the order in which they came: the first while the permit was there.
      expect([outcomes, leader.held]).toEqual([['INVALID_ARGUMENT', 'done'], []]);
    });

    it('of what waits take it out of the queue', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      leader.settle();
      leader.release('b');
      leader.release('a');
      leader.settle();
      expect([leader.waiting, leader.held]).toEqual([0, []]);
    });
  });

  describe('callers that give up', () => {
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

    it('while their grant is written: it is taken back, and goes on to the next', () => {
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

    it('S1: keep them as long as they renew', () => {
      const leader = new Leader();
      leader.acquire('a');
      for (let beat = 0; beat < 30; beat += 1) {
        leader.advance(100);
        leader.renew('a', 'a');
      }
      leader.advance(999);
      expect(leader.held).toEqual(['a']);
    });

    it('S1: that an earlier leader knew, are given a whole time from the begin of the term', () => {
      const leader = new Leader(rowOf(1, ['a']), 5_000);
      leader.acquire('b', { wait: false });
      leader.settle();
      leader.advance(999);
      expect(leader.held).toEqual(['a']);
      leader.advance(1);
      expect(leader.held).toEqual([]);
    });

    it('S2: count from the begin of the term also when the semaphore is asked for much later', () => {
      const leader = new Leader(rowOf(1, ['a']), 5_000);
      leader.now = 50_000;
      const b = leader.acquire('b', { wait: false });
      leader.settle();
      expect(leader.outcomes.get(b)).toBe('granted');
    });

    it('S2: are granted nothing, and those behind them are', () => {
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

    it('S2: are granted nothing from when their link broke', () => {
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
    it('tell what is not held any more, and not that one waits', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      const first = leader.renew('a', 'a', 'gone');
      expect(leader.outcomes.has(first)).toBe(false);
      leader.settle();
      const second = leader.renew('b', 'b', 'a');
      expect([leader.unknown.get(first), leader.unknown.get(second)]).toEqual([['gone'], ['a']]);
    });

    it('S1: do not confirm what a write under way takes back', () => {
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
    it('that happened is found by reading, and its grant told once', () => {
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

    it('S1: that happens after the row was read again makes the next one fail, and is found then', () => {
      const leader = new Leader();
      const a = leader.acquire('a');
      leader.turn();
      leader.answer();
      const late = leader.call as Write;
      leader.fail();
      leader.now += timing.retryMs;
      leader.turn();
      leader.answer();
      // The read saw nothing; now the first write takes effect, then the second is tried.
      leader.row = { limit: late.limit, value: late.value, timestamp: 10n };
      leader.settle();
      expect([leader.outcomes.get(a), leader.tokens.get(a), leader.held]).toEqual(['granted', 10n, ['a']]);
    });

    it('whose caller gave up meanwhile is taken back', () => {
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

    it('S1: that another leader fenced off sends all to that one', () => {
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
    it('recognises a grant that its caller asks for again', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const a = leader.acquire('a', { waitedMs: 700 });
      leader.settle();
      expect([leader.outcomes.get(a), leader.tokens.get(a), leader.writes]).toEqual(['granted', 5n, 0]);
    });

    it('S3: grants nobody the permit of another that used its id', () => {
      const leader = new Leader(rowOf(1, ['a']));
      const thief = leader.acquire('a', { holder: 'thief' });
      leader.settle();
      expect(leader.outcomes.get(thief)).toBe('INVALID_ARGUMENT');
    });

    it('S3: lets nobody push another out of the queue by using its id', () => {
      const leader = new Leader(rowOf(1, ['a']));
      leader.acquire('b');
      const thief = leader.acquire('b', { holder: 'thief' });
      leader.settle();
      expect([leader.outcomes.get(thief), leader.waiting]).toEqual(['INVALID_ARGUMENT', 1]);
    });

    it('serves those first who waited longest under the last one, and lets them come back before it grants', () => {
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

    it('does not wait where nobody can have waited', () => {
      const leader = new Leader(rowOf(2, ['a']));
      const b = leader.acquire('b', { limit: 2 });
      leader.settle();
      expect(leader.outcomes.get(b)).toBe('granted');
    });
  });

  it('drains: whoever waits is sent to the next leader, and what is held is renewed and released', () => {
    const leader = new Leader(rowOf(2, ['a'], ['b']));
    const c = leader.acquire('c', { limit: 2 });
    leader.settle();
    leader.step({ type: 'drain', error: new HedgeError('NOT_LEADER', 'handing over') });
    expect(leader.outcomes.get(c)).toBe('NOT_LEADER');
    const [renewal, release] = [leader.renew('a', 'a'), leader.release('b')];
    leader.settle();
    expect([leader.unknown.get(renewal), leader.outcomes.get(release), leader.held]).toEqual([[], 'done', ['a']]);
  });

  it('S2: drains: takes back what a write under way grants to a caller that it has sent away', () => {
    const leader = new Leader();
    const a = leader.acquire('a');
    leader.turn();
    leader.answer();
    leader.step({ type: 'drain', error: new HedgeError('NOT_LEADER', 'handing over') });
    leader.settle();
    expect([leader.outcomes.get(a), leader.writes, leader.held]).toEqual(['NOT_LEADER', 2, []]);
  });

  it('ends: whoever waits is sent to the next leader', () => {
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
  ])('S1: refuses to work on a row that %s', (_what, row) => {
    const leader = new Leader(row);
    const a = leader.acquire('a');
    leader.settle();
    expect([leader.outcomes.get(a), leader.writes]).toEqual(['CONFLICT', 0]);
  });
});
