import { describe, expect, it } from '@jest/globals';
import { RequestDeduplicator, Entry } from './request-deduplicator.core.js';
import { Encoding } from '../../wire/hedge/v1/link.js';
import { successReply } from '../message.js';

const LIMITS = { maxRunning: 3, maxEntries: 5, maxBytes: 1_000 };

function replyTo(sequence: number, text = 'done') {
  return successReply(sequence, { encoding: Encoding.ENCODING_BYTES, bytes: Buffer.from(text) });
}

describe('RequestDeduplicator', () => {
  it('finds a running request, and then its reply, until the caller acknowledges it', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    const entry = new Entry(7, 10);
    expect(duplicates.find('a', 7)).toBeUndefined();
    expect(duplicates.admit('a', entry)).toBeUndefined();
    expect(duplicates.find('a', 7)).toBe(entry);
    expect(duplicates.find('b', 7)).toBeUndefined();

    expect(duplicates.finish(entry, replyTo(7), 4)).toBe(true);
    expect(duplicates.find('a', 7)?.reply).toEqual(replyTo(7));
    duplicates.acknowledge('a', [7, 8]);
    expect(duplicates.find('a', 7)).toBeUndefined();
    expect(duplicates.held).toEqual({ running: 0, entries: 0, bytes: 0 });
  });

  it('counts only the first end of a request', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    const entry = new Entry(1, 10);
    duplicates.admit('a', entry);
    duplicates.finish(entry, replyTo(1, 'first'), 5);
    expect(duplicates.finish(entry, replyTo(1, 'second'), 6)).toBe(false);
    expect(entry.reply).toEqual(replyTo(1, 'first'));
    expect(duplicates.held).toEqual({ running: 0, entries: 1, bytes: 5 });
  });

  it('ignores the acknowledgement of a request that still runs', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    duplicates.admit('a', new Entry(1, 10));
    duplicates.acknowledge('a', [1]);
    expect(duplicates.find('a', 1)).toBeDefined();
  });

  it('keeps the requests that a caller still waits for on a new link, and returns the abandoned ones', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    expect(duplicates.resume('a', [])).toEqual({ known: false, dropped: [] });
    const [kept, ended, dropped] = [new Entry(1, 10), new Entry(2, 10), new Entry(3, 10)];
    for (const entry of [kept, ended, dropped]) duplicates.admit('a', entry);
    duplicates.finish(ended, replyTo(2), 4);
    expect(duplicates.resume('a', [1])).toEqual({ known: true, dropped: [dropped] });
    expect(duplicates.find('a', 1)).toBe(kept);
    expect(duplicates.find('a', 2)).toBeUndefined();
    expect(duplicates.running()).toEqual([kept]);
    expect(duplicates.held).toEqual({ running: 2, entries: 1, bytes: 10 });

    expect(duplicates.finish(dropped, replyTo(3), 4)).toBe(false);
    expect(duplicates.held).toEqual({ running: 1, entries: 1, bytes: 10 });
  });

  it('remembers a caller without requests until it is forgotten explicitly', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    duplicates.resume('a', []);
    expect(duplicates.resume('a', []).known).toBe(true);
    const entry = new Entry(1, 10);
    duplicates.admit('a', entry);
    expect(duplicates.forget('a')).toEqual([entry]);
    expect(duplicates.resume('a', [1]).known).toBe(false);
    expect(duplicates.held).toEqual({ running: 1, entries: 0, bytes: 0 });
  });

  it('repeats to a caller that it was forgotten, until the caller has received it', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    duplicates.resume('a', []);
    duplicates.admit('a', new Entry(4, 10));
    duplicates.forget('a');
    expect(duplicates.resume('a', [3, 4]).known).toBe(false);
    // The link broke before the answer arrived, so the caller still waits for both requests.
    expect(duplicates.resume('a', [4, 3]).known).toBe(false);

    // The caller received the answer, and has sent other requests since.
    expect(duplicates.resume('a', []).known).toBe(true);
    duplicates.admit('a', new Entry(5, 10));
    expect(duplicates.resume('a', [5, 6]).known).toBe(true);
  });

  it('refuses new work rather than forget a request: too many running, held, or bytes', () => {
    const running = new RequestDeduplicator(LIMITS);
    for (const sequence of [1, 2, 3]) running.admit('a', new Entry(sequence, 1));
    expect(running.admit('b', new Entry(1, 1))).toMatchObject({ code: 'OVERLOADED', retryable: true });
    expect(running.find('b', 1)).toBeUndefined();

    const held = new RequestDeduplicator(LIMITS);
    for (const sequence of [1, 2, 3, 4, 5]) {
      const entry = new Entry(sequence, 1);
      expect(held.admit(`caller ${sequence}`, entry)).toBeUndefined();
      held.finish(entry, replyTo(sequence), 4);
    }
    expect(held.admit('a', new Entry(6, 1))).toMatchObject({ code: 'OVERLOADED' });
    held.acknowledge('caller 3', [3]);
    expect(held.admit('a', new Entry(6, 1))).toBeUndefined();

    const bytes = new RequestDeduplicator(LIMITS);
    expect(bytes.admit('a', new Entry(1, 900))).toBeUndefined();
    expect(bytes.admit('a', new Entry(2, 101))).toMatchObject({ code: 'OVERLOADED' });
  });

  it('keeps a failure in place of a reply that does not fit, and never runs it again', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    const [big, small] = [new Entry(1, 10), new Entry(2, 600)];
    duplicates.admit('a', big);
    duplicates.admit('a', small);
    expect(duplicates.finish(big, replyTo(1), 401)).toBe(true);
    expect(duplicates.find('a', 1)?.reply?.failure?.code).toBe('OUTCOME_UNKNOWN');
    expect(duplicates.held.bytes).toBe(600);
  });

  it('leaves room for other callers when some callers acknowledge nothing', () => {
    const duplicates = new RequestDeduplicator({ maxRunning: 100, maxEntries: 1_000, maxBytes: 100_000 });
    const hold = (caller: string, bytes: number): number => {
      for (let held = 0; ; held += 1) {
        const entry = new Entry(held, bytes);
        if (duplicates.admit(caller, entry) !== undefined) return held;
        duplicates.finish(entry, replyTo(held), bytes);
      }
    };
    expect([hold('a', 10), hold('b', 10)]).toEqual([500, 250]);
    expect(duplicates.admit('c', new Entry(1, 10))).toBeUndefined();
    // A caller at its limit still gets replies, and a repeated request is still recognised.
    expect(duplicates.find('a', 499)?.reply).toEqual(replyTo(499));

    const bytes = new RequestDeduplicator({ maxRunning: 100, maxEntries: 1_000, maxBytes: 100_000 });
    const [mine, theirs] = [new Entry(1, 40_000), new Entry(2, 10)];
    bytes.admit('a', mine);
    bytes.admit('a', theirs);
    bytes.finish(mine, replyTo(1), 40_000);
    expect(bytes.finish(theirs, replyTo(2), 40_000)).toBe(true);
    expect(bytes.find('a', 2)?.reply?.failure?.code).toBe('OUTCOME_UNKNOWN');
    expect(bytes.admit('b', new Entry(1, 60_000))).toBeUndefined();
  });

  it('leaves slots for other topics when the handlers of some topics never end', () => {
    const duplicates = new RequestDeduplicator({
      maxRunning: 100,
      maxRunningPerTopic: 50,
      maxEntries: 1_000,
      maxBytes: 1_000,
    });
    let sequence = 0;
    const run = (topic: string): Entry[] => {
      for (const running: Entry[] = []; ;) {
        const entry = new Entry((sequence += 1), 1, 'handlers', topic);
        const refusal = duplicates.admit('a', entry);
        if (refusal === undefined) running.push(entry);
        else {
          expect(refusal.message).toContain(`'${topic}'`);
          return running;
        }
      }
    };
    const first = run('one');
    expect([first.length, run('two').length, run('three').length, run('four').length]).toEqual([50, 25, 13, 6]);
    expect(duplicates.admit('b', new Entry(1, 1, 'handlers', 'five'))).toBeUndefined();
    for (const entry of first) duplicates.finish(entry, replyTo(entry.sequence), 1);
    expect(run('six')).toHaveLength(28);
  });

  it.each(['puts', 'acquires', 'releases', 'renewals'] as const)(
    'does not bound %s by the limit of one topic',
    (traffic) => {
      const duplicates = new RequestDeduplicator({
        maxRunning: 4,
        maxRunningPerTopic: 1,
        maxEntries: 100,
        maxBytes: 1_000,
      });
      for (const sequence of [1, 2, 3, 4]) {
        expect(duplicates.admit('a', new Entry(sequence, 1, traffic))).toBeUndefined();
      }
      expect(duplicates.admit('a', new Entry(5, 1, traffic))).toMatchObject({ code: 'OVERLOADED' });
    },
  );

  it('has slots and bytes of its own for each class of traffic', () => {
    const duplicates = new RequestDeduplicator(LIMITS);
    for (const sequence of [1, 2, 3]) duplicates.admit('a', new Entry(sequence, 300, 'handlers'));
    expect(duplicates.admit('a', new Entry(4, 1, 'handlers'))).toMatchObject({ code: 'OVERLOADED' });
    for (const traffic of ['puts', 'acquires', 'releases', 'renewals'] as const) {
      expect(duplicates.admit('a', new Entry(5, 900, traffic))).toBeUndefined();
    }
  });
});
