import { describe, expect, it } from '@jest/globals';
import { ReportTurns, type StampedReport } from './report-turns.js';

const EPOCH = 1n;

/** Members that read the row one after another, round by round. Each reaches the given number of others. */
function rounds(reached: Readonly<Record<string, number>>, count: number): string[] {
  const members = Object.keys(reached).map((incarnation) => ({ address: `${incarnation}:1`, incarnation }));
  const turns = new Map(members.map((self) => [self, new ReportTurns(self)]));
  const writers: string[] = [];
  let last: StampedReport | undefined;
  for (let round = 0; round < count; round += 1) {
    for (const [by, turn] of turns) {
      const another = turn.ofAnother(last, EPOCH);
      const own = Array.from({ length: reached[by.incarnation] ?? 0 }, (_, index) => `other-${index}`);
      if (turn.passes || !ReportTurns.mayReachMore(another, members) || !ReportTurns.writes(another, own)) continue;
      writers.push(by.incarnation);
      last = { stamp: String(writers.length), report: { epoch: EPOCH, by, reached: own } };
    }
  }
  return writers;
}

describe('the turns to report an unreachable leader', () => {
  it('A1: each member that reaches as many has a turn, though the reports of the first have no effect', () => {
    // The leader can dial only the last: reports of the others never convince it.
    expect(new Set(rounds({ x: 1, y: 1, z: 1 }, 12))).toEqual(new Set(['x', 'y', 'z']));
  });

  it('A1: a member that reaches fewer has a turn too', () => {
    expect(new Set(rounds({ x: 2, y: 1 }, 12))).toEqual(new Set(['x', 'y']));
  });

  it('a member reports twice before it passes, because a leader compares two reports', () => {
    expect(rounds({ x: 1 }, 6)).toEqual(['x', 'x', 'x', 'x']);
    expect(rounds({ x: 1, y: 1 }, 2)).toEqual(['x', 'x']);
  });
});
