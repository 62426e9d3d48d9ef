import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../testing/virtual-clock.js';
import { watchIdle } from './idle.js';

function watched() {
  const clock = new VirtualClock();
  const state = { moves: 0, idle: 0 };
  const stop = watchIdle(
    clock,
    1_000,
    () => state.moves,
    () => (state.idle += 1),
  );
  return { clock, state, stop };
}

describe('watchIdle', () => {
  it('calls once when there was no progress for the idle time', () => {
    const { clock, state } = watched();
    clock.advance(999);
    expect(state.idle).toBe(0);
    clock.advance(10_000);
    expect(state.idle).toBe(1);
  });

  it('starts over with each progress', () => {
    const { clock, state } = watched();
    for (let i = 0; i < 20; i++) {
      clock.advance(900);
      state.moves += 1;
    }
    expect(state.idle).toBe(0);
    clock.advance(1_250);
    expect(state.idle).toBe(1);
  });

  it('does not call after it was stopped', () => {
    const { clock, state, stop } = watched();
    stop();
    clock.advance(10_000);
    expect(state.idle).toBe(0);
  });
});
