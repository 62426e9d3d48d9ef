import { beforeEach, describe, expect, it } from '@jest/globals';
import type { MemberId } from '../../common/identity.js';
import type { Attempt, PlacementEffect, PlacementInput } from './placement.messages.js';
import { Placement } from './placement.core.js';

const member = (name: string): MemberId => ({ address: `${name}:1`, incarnation: name });
const [a, b, c, d] = [member('a'), member('b'), member('c'), member('d')];

describe('Placement', () => {
  let now: number;
  let placement: Placement;
  let last: readonly PlacementEffect[];

  const make = (copies: 1 | 2 = 1, window = 4): void => {
    const settings = { self: a, copies, window, stallMs: 1_000, giveUpMs: 5_000, random: () => 0.5 };
    placement = new Placement(settings);
  };
  const step = (input: PlacementInput): readonly PlacementEffect[] => (last = placement.step(input, now));
  const members = (...spaces: [MemberId, number][]): readonly PlacementEffect[] =>
    step({ type: 'members', members: spaces.map(([of, freeBytes]) => ({ member: of, freeBytes })) });
  const frame = (sequence: number): readonly PlacementEffect[] => step({ type: 'frame', sequence, bytes: 10 });
  /** The latest targets of the frame, by name. */
  const sentTo = (effects = last): Record<number, string[]> => {
    const sent: Record<number, string[]> = {};
    for (const effect of effects)
      if (effect.type === 'store') (sent[effect.sequence] ??= []).push(effect.attempt.target);
    return sent;
  };
  const stored = (target: string, sequence: number, session = 1): readonly PlacementEffect[] =>
    step({ type: 'stored', attempt: { target, session }, sequence });
  const refused = (target: string, sequence: number, session = 1): readonly PlacementEffect[] =>
    step({ type: 'refused', attempt: { target, session }, sequences: [sequence], freeBytes: 0 });
  /** A frame for which this pod has no room. */
  const frameAway = (sequence: number): readonly PlacementEffect[] => {
    frame(sequence);
    return refused('a', sequence);
  };
  const types = (): string[] => last.map(({ type }) => type).filter((type) => type !== 'wake');

  beforeEach(() => {
    now = 0;
    make();
  });

  it('stores frames on this pod while it has room, and tries it for each frame', () => {
    members([b, 100]);
    expect(sentTo(frame(0))).toEqual({ 0: ['a'] });
    expect(stored('a', 0)).toContainEqual({ type: 'placed', sequence: 0, targets: ['a'] });
    frameAway(1);
    expect(sentTo()).toEqual({ 1: ['b'] });
    expect(sentTo(frame(2))).toEqual({ 2: ['a'] });
  });

  it('distributes frames to other members in proportion to their free bytes', () => {
    members([b, 1_000_000], [c, 2_000_000], [d, 1_000_000]);
    const counts: Record<string, number> = {};
    let [before, run, longestRun] = ['', 0, 0];
    for (let sequence = 0; sequence < 400; sequence += 1) {
      const [target = ''] = sentTo(frameAway(sequence))[sequence] ?? [];
      counts[target] = (counts[target] ?? 0) + 1;
      run = target === before ? run + 1 : 1;
      longestRun = Math.max(longestRun, run);
      before = target;
      stored(target, sequence);
    }
    expect(counts).toEqual({ b: 100, c: 200, d: 100 });
    expect(longestRun).toBeLessThanOrEqual(2);
  });

  it('has at most a window in flight to one member, and continues with its acknowledgements', () => {
    make(1, 2);
    members([b, 100]);
    for (const sequence of [0, 1, 2]) frameAway(sequence);
    expect(sentTo()).toEqual({});
    expect(sentTo(stored('b', 0))).toEqual({ 2: ['b'] });
  });

  it('stores two copies on two members, and reports the frame as placed when both have it', () => {
    make(2);
    members([b, 100], [c, 100]);
    expect(sentTo(frame(0))[0]?.[0]).toBe('a');
    const [, other = ''] = sentTo()[0] ?? [];
    expect(['b', 'c']).toContain(other);
    stored(other, 0);
    expect(types()).toEqual([]);
    stored('a', 0);
    expect(last).toContainEqual({ type: 'placed', sequence: 0, targets: [other, 'a'] });
  });

  it('P1: stores a refused frame on another member', () => {
    members([b, 200], [c, 100]);
    frameAway(0);
    expect(sentTo()).toEqual({ 0: ['b'] });
    expect(sentTo(refused('b', 0))).toEqual({ 0: ['c'] });
    refused('c', 0);
    expect(types()).toEqual(['exhausted']);
  });

  it('tries a full member again when it advertises more capacity', () => {
    members([b, 200], [c, 100]);
    frameAway(0);
    refused('b', 0);
    expect(sentTo(frameAway(1))).toEqual({ 1: ['c'] });
    members([b, 50_000], [c, 1]);
    expect(sentTo(frameAway(2))).toEqual({ 2: ['b'] });
  });

  it('P1: abandons a member that stalls, names the frames it may hold, and ignores its late answer', () => {
    members([b, 200], [c, 100]);
    frameAway(0);
    now = 999;
    expect(step({ type: 'tick' })).toContainEqual({ type: 'wake', afterMs: 1 });
    now = 1_000;
    step({ type: 'tick' });
    const attempt: Attempt = { target: 'b', session: 1 };
    expect(last).toContainEqual({ type: 'abandon', attempt, sequences: [0] });
    expect(sentTo()).toEqual({ 0: ['c'] });
    stored('b', 0);
    expect(types()).toEqual([]);
    stored('c', 0);
    expect(types()).toEqual(['placed']);
  });

  it('tries an unreachable member again in a new session, and is exhausted in the end', () => {
    members([b, 100]);
    frameAway(0);
    let tries = 0;
    for (; types().join() !== 'exhausted' && tries < 100; tries += 1) {
      step({ type: 'failed', attempt: { target: 'b', session: tries + 1 } });
      while (!types().includes('store') && !types().includes('exhausted')) {
        now += 50;
        step({ type: 'tick' });
      }
    }
    expect(tries).toBeGreaterThan(2);
    expect(now).toBeGreaterThanOrEqual(5_000);
  });

  it('uses a member that joins, and sends no more frames to one that left', () => {
    members([b, 100]);
    frameAway(0);
    members([c, 100]);
    expect(last).toContainEqual({ type: 'abandon', attempt: { target: 'b', session: 1 }, sequences: [0] });
    expect(sentTo()).toEqual({ 0: ['c'] });
  });

  it('is exhausted once, and places nothing afterwards', () => {
    frameAway(0);
    expect(last).toContainEqual({ type: 'exhausted', sequence: 0 });
    members([b, 100]);
    frame(1);
    expect(types()).toEqual([]);
  });
});
