import { beforeEach, describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../testing/virtual-clock.js';
import { StallMonitor } from './stall-monitor.js';

const leaseMs = 3_200;

describe('StallMonitor', () => {
  let clock: VirtualClock;
  let lines: string[];
  let turns: number[];
  let cpuMs: number;
  let monitor: StallMonitor;

  const make = (maxStallMs?: number): void => {
    clock = new VirtualClock();
    lines = [];
    turns = [];
    cpuMs = 0;
    const onTurn = (mono: number): void => void turns.push(mono);
    const logger = { warn: (line: string): void => void lines.push(line) };
    monitor = new StallMonitor({ clock, leaseMs, maxStallMs, logger, onTurn, cpuMs: () => cpuMs });
    monitor.start();
  };
  /** The event loop stalls: time passes at once for all its timers. */
  const stall = (ms: number): void => clock.block(ms);

  beforeEach(() => make());

  it('logs nothing while the event loop turns, and reports its turns', () => {
    clock.advance(leaseMs);
    expect(lines).toEqual([]);
    expect(turns).toHaveLength(17);
  });

  it('logs a stall once, with its length, its cost and the fix', () => {
    stall(leaseMs);
    cpuMs = 3_000;
    monitor.lost('the leadership');
    clock.advance(0);
    monitor.lost('lock "a"');
    clock.advance(leaseMs);
    expect(lines).toEqual([
      expect.stringMatching(
        /stalled for 3000 ms\. .*3000 ms of CPU time meanwhile, so synchronous work.*cost the pod the leadership, lock "a"\..*raise timing\.leaseMs, or set renewal: 'worker'$/,
      ),
    ]);
    expect(monitor.figures).toEqual({ count: 1, longestMs: 3_000, totalMs: 3_000, lost: 2 });
  });

  it('tells a process that was paused from one that worked, and blames no stall for an earlier loss', () => {
    make(2 * leaseMs);
    monitor.lost('the leadership');
    clock.advance(leaseMs);
    stall(1_200);
    clock.advance(leaseMs);
    expect(lines).toEqual([expect.stringMatching(/only 0 ms of CPU.*paused.*No lease was lost.*maxStallMs \(6400\)/)]);
  });
});
