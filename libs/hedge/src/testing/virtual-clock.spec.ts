import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from './virtual-clock.js';

describe('VirtualClock', () => {
  it('fires timers in the order of their due times, then of their creation, each at its due time', () => {
    const clock = new VirtualClock(0);
    const rung: string[] = [];
    const ring = (name: string) => () => void rung.push(`${name}@${clock.now().mono}`);
    clock.after(20, ring('late'));
    clock.after(10, ring('first'));
    clock.after(10, ring('second'));
    clock.advance(20);
    expect(rung).toEqual(['first@10', 'second@10', 'late@20']);
  });

  it('fires due timers that another timer sets', () => {
    const clock = new VirtualClock(0);
    const rung: number[] = [];
    const tick = () => {
      rung.push(clock.now().mono);
      clock.after(10, tick);
    };
    clock.after(10, tick);
    clock.advance(35);
    expect(rung).toEqual([10, 20, 30]);
    expect(clock.now()).toEqual({ mono: 35, wall: 35 });
    expect(clock.nextTimerMs()).toBe(5);
  });

  it('does not fire a cancelled timer', () => {
    const clock = new VirtualClock();
    let rung = false;
    const cancel = clock.after(1, () => (rung = true));
    cancel();
    cancel();
    clock.advance(10);
    expect(rung).toBe(false);
    expect(clock.nextTimerMs()).toBeUndefined();
  });

  it('moves only the wall clock on a jump', () => {
    const clock = new VirtualClock(1_000);
    clock.jumpWall(-400);
    expect(clock.now()).toEqual({ mono: 0, wall: 600 });
  });

  it('settles promises between timers in advanceAsync', async () => {
    const clock = new VirtualClock(0);
    const rung: number[] = [];
    const sleep = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
    void (async () => {
      for (let i = 0; i < 3; i++) {
        await sleep(10);
        rung.push(clock.now().mono);
      }
    })();
    await clock.advanceAsync(30);
    expect(rung).toEqual([10, 20, 30]);
  });
});
