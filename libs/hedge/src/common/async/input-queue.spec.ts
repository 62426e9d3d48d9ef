import { describe, expect, it } from '@jest/globals';
import { InputQueue } from './input-queue.js';

describe('InputQueue', () => {
  it('handles an input from within another one after it, and returns true only to the outer call', () => {
    const seen: string[] = [];
    const answers: boolean[] = [];
    const queue = new InputQueue<string>((input) => {
      seen.push(`${input} begins`);
      if (input === 'outer') answers.push(queue.push('inner'));
      seen.push(`${input} ends`);
    });
    expect(queue.push('outer')).toBe(true);
    expect(answers).toEqual([false]);
    expect(seen).toEqual(['outer begins', 'outer ends', 'inner begins', 'inner ends']);
  });

  it('handles further inputs after one threw', () => {
    const seen: number[] = [];
    const queue = new InputQueue<number>((input) => {
      if (input === 1) throw new Error('one');
      seen.push(input);
    });
    expect(() => queue.push(1)).toThrow('one');
    expect(queue.push(2)).toBe(true);
    expect(seen).toEqual([2]);
  });
});
