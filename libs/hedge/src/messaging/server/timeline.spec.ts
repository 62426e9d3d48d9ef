import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { Timeline } from './timeline.js';

describe('Timeline', () => {
  it('follows the clock, and adds the time that the machine slept', () => {
    const clock = new VirtualClock();
    const timeline = new Timeline();
    const start = timeline.advance(clock.now());
    clock.advance(100);
    expect(timeline.advance(clock.now()) - start).toBe(100);
    clock.jumpWall(3_600_000);
    expect(timeline.advance(clock.now()) - start).toBe(3_600_100);
  });

  it('never goes back, and does not add up small steps of an adjusted wall clock', () => {
    const clock = new VirtualClock();
    const timeline = new Timeline();
    const start = timeline.advance(clock.now());
    clock.jumpWall(-3_600_000);
    expect(timeline.advance(clock.now())).toBe(start);
    for (let i = 0; i < 1_000; i += 1) {
      clock.jumpWall(i % 2 === 0 ? 5 : -5);
      expect(timeline.advance(clock.now())).toBe(start);
    }
  });
});
