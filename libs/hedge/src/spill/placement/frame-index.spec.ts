import { describe, expect, it } from '@jest/globals';
import type { FrameHeader } from '../records/frame.js';
import { FrameIndex } from './frame-index.js';

const member = (name: string) => ({ address: `${name}:1`, incarnation: name });
const copy = (name: string, tier: 'memory' | 'disk' = 'memory') => ({ member: member(name), tier });
const header = (sequence: number, firstRecord: number, records: number, part?: 'first' | 'middle' | 'last') =>
  ({
    sequence,
    firstRecord,
    records,
    continues: part === 'middle' || part === 'last',
    continued: part === 'first' || part === 'middle',
  }) as FrameHeader;

/** Records 0–9, 10 over three frames, 11–14. */
function sample(): FrameIndex {
  const index = new FrameIndex();
  index.add(header(0, 0, 10), 100);
  index.add(header(3, 10, 1, 'last'), 100);
  index.add(header(1, 10, 1, 'first'), 100);
  index.add(header(2, 10, 1, 'middle'), 100);
  index.add(header(4, 11, 4), 50);
  return index;
}

describe('FrameIndex', () => {
  it('finds the frame in which a record begins', () => {
    const index = sample();
    expect([0, 9, 10, 11, 14, 15].map((record) => index.find(record))).toEqual([0, 0, 1, 4, 4, 5]);
    expect(index.records).toBe(15);
  });

  it('P1: truncates at the first frame without its copies, and counts whole records only', () => {
    const index = sample();
    for (const sequence of [0, 1, 4]) index.stored(sequence, copy('b'));
    expect(index.firstWithout(1)).toBe(2);
    expect(index.truncate(2).map(({ sequence }) => sequence)).toEqual([2, 3, 4]);
    expect(index.records).toBe(10);
    expect(index.find(10)).toBe(1);
  });

  it('lists the share of each member in each tier', () => {
    const index = sample();
    index.stored(0, copy('a'));
    index.stored(0, copy('b'));
    for (const sequence of [1, 2, 3]) index.stored(sequence, copy('b', 'disk'));
    index.stored(4, copy('b'));
    expect(index.shares()).toEqual([
      { member: member('a'), tier: 'memory', frames: 1, records: 10, bytes: 100 },
      { member: member('b'), tier: 'memory', frames: 2, records: 14, bytes: 150 },
      { member: member('b'), tier: 'disk', frames: 3, records: 1, bytes: 300 },
    ]);
  });
});
