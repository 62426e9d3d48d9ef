import { describe, expect, it } from '@jest/globals';
import { account, type LedgerEntry, type Run } from './firings.js';

const at = (second: number) => new Date(second * 1_000).toISOString();
const entry = (event: string, second: number, attempt = 1, last = second): LedgerEntry => ({
  event,
  fireTime: at(second),
  lastFireTime: at(last),
  attempt,
});
const run = (second: number, attempt = 1): Run => ({ fireTime: at(second), attempt });
const done = (second: number, attempt = 1) => [entry('claimed', second, attempt), entry('done', second, attempt)];

describe('the comparison of runs with the ledger', () => {
  it('counts the outcomes of the firings', () => {
    const lost = [entry('claimed', 2), entry('lost', 2), ...done(2, 2)];
    const entries = [entry('scheduled', 0, 0), ...done(1), ...lost, entry('skipped', 3, 0, 5), ...done(6)];
    const counted = { firings: 6, done: 3, failed: 0, lost: 1, again: 1, passedOver: 3, requested: 0 };
    expect(account(entries, [run(1), run(2), run(2, 2), run(6)], 1_000)).toEqual(counted);
  });

  it('counts runs by request apart from the timetable', () => {
    const asked = done(1.5).map((one) => ({ ...one, requested: { id: 'a' } }));
    const counted = { firings: 3, done: 3, requested: 1, passedOver: 1 };
    expect(account([...done(1), ...asked, entry('missed', 2, 0), ...done(3)], [run(1.5)], 1_000)).toMatchObject(
      counted,
    );
    expect(() => account([...done(1), ...asked, ...done(3)], [], 1_000)).toThrow('is not recorded');
  });

  it('counts a firing that was due when somebody asked for a run with the timetable', () => {
    const asked = done(2).map((one) => ({ ...one, requested: { id: 'a' } }));
    const counted = { firings: 3, done: 3, requested: 0 };
    expect(account([...done(1), ...asked, ...done(3)], [run(2)], 1_000)).toMatchObject(counted);
  });

  it('counts a claim as lost whose pod died before the run', () => {
    expect(account([entry('claimed', 1), entry('lost', 1)], [], 1_000)).toMatchObject({ firings: 1, lost: 1, done: 0 });
  });

  it.each<[string, LedgerEntry[], Run[], string]>([
    ['not recorded', [...done(1), ...done(3)], [], 'is not recorded'],
    ['run twice in one attempt', done(1), [run(1), run(1)], 'ran twice'],
    ['run without a claim', done(1), [run(1), run(1, 2)], 'without a claim'],
    ['claimed without an outcome', [entry('claimed', 1), ...done(2)], [], 'no outcome'],
    ['claimed twice', [...done(1), entry('claimed', 1)], [], 'recorded twice'],
    ['run again although it was not lost', [...done(1), ...done(1, 2)], [], 'again without a reason'],
  ])('fails for a firing that was %s', (_, entries, runs, message) => {
    expect(() => account(entries, runs, 1_000)).toThrow(message);
  });
});
