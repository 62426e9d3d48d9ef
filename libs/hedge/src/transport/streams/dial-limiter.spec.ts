import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import { DialLimiter } from './dial-limiter.js';

const a = { address: 'a:1', incarnation: 'a' };
const never = new AbortController().signal;

/** Dials that end when the test ends them. */
function dials(perMember: number) {
  const limiter = new DialLimiter(perMember);
  const begun: { name: string; succeed: () => void; fail: (error: Error) => void }[] = [];
  const run = (name: string, { to = a, signal = never } = {}): Promise<string> =>
    limiter.run(
      to,
      signal,
      () => new Promise((resolve, reject) => begun.push({ name, succeed: () => resolve(name), fail: reject })),
    );
  const names = (): string[] => begun.map(({ name }) => name);
  return { run, begun, names };
}

describe('dials', () => {
  it('of one member are bounded, and begin in order as others end', async () => {
    const { run, begun, names } = dials(2);
    const all = ['1', '2', '3', '4', '5'].map((name) => run(name));
    expect(names()).toEqual(['1', '2']);
    begun[1]?.succeed();
    await all[1];
    expect(names()).toEqual(['1', '2', '3']);
    for (const i of [0, 2, 3, 4]) {
      begun[i]?.succeed();
      await new Promise(setImmediate);
    }
    expect(await Promise.all(all)).toEqual(['1', '2', '3', '4', '5']);
    void run('6');
    void run('7');
    void run('8');
    expect(names().slice(5)).toEqual(['6', '7']);
  });

  it('of one member do not wait for those of another, or of another process at its address', () => {
    const { run, names } = dials(1);
    for (const to of [a, a, { address: 'b:1', incarnation: 'b' }, { ...a, incarnation: 'a2' }]) {
      void run(to.incarnation, { to });
    }
    expect(names()).toEqual(['a', 'b', 'a2']);
  });

  it('that wait fail when their caller cancels, and never begin', async () => {
    const { run, begun, names } = dials(1);
    const caller = new AbortController();
    const first = run('1');
    const second = run('2', { signal: caller.signal });
    const third = run('3');
    caller.abort(new Error('enough'));
    await expect(second).rejects.toThrow('enough');
    begun[0]?.succeed();
    await first;
    await new Promise(setImmediate);
    expect(names()).toEqual(['1', '3']);
    begun[1]?.succeed();
    await third;
  });

  it('that wait for a member fail when it is unreachable', async () => {
    const { run, begun, names } = dials(1);
    const all = ['1', '2', '3'].map((name) => run(name));
    const error = new HedgeError('MEMBER_UNREACHABLE', 'No answer');
    begun[0]?.fail(error);
    for (const one of all) await expect(one).rejects.toBe(error);
    void run('4');
    expect(names()).toEqual(['1', '4']);
  });

  it.each([
    new HedgeError('MEMBER_UNREACHABLE', 'Too many', { details: { refusal: 'OVERLOADED' } }),
    new HedgeError('DEADLINE_EXCEEDED', 'One caller gave up'),
  ])('that wait for a member go on when it answered, or a caller gave up', async (error) => {
    const { run, begun, names } = dials(1);
    const [first] = [run('1'), run('2')];
    begun[0]?.fail(error);
    await expect(first).rejects.toBe(error);
    await new Promise(setImmediate);
    expect(names()).toEqual(['1', '2']);
  });
});
