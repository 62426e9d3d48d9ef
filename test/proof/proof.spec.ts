import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { missing, SCHEDULES, Stage } from './schedule.js';
import { cells, rowsOf } from './table.js';

const rows = rowsOf(readFileSync('docs/fencing-proof.md', 'utf8'));
let stage: Stage;

beforeAll(async () => {
  stage = await Stage.set();
});

afterAll(() => stage.clear());

describe('the table of docs/fencing-proof.md', () => {
  it('has a row for each schedule', () => {
    expect(rows.map(([lock, stop]) => [lock, stop])).toEqual(
      SCHEDULES.map(({ lock, stop }) => [lock, stop ?? 'never']),
    );
  });

  for (const [index, schedule] of SCHEDULES.entries()) {
    const { lock, stop } = schedule;
    const program = missing(lock);
    const title = `is true of ${lock} when its holder ${stop === undefined ? 'does not stop' : `stops ${stop}`}`;
    const run = async () => expect(cells(await stage.perform(schedule))).toEqual(rows[index]);
    if (program === undefined) it(title, run);
    else it.skip(`${title} (needs ${program})`, run);
  }
});
