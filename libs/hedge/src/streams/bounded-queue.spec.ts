import { describe, expect, it } from '@jest/globals';
import { BoundedQueue } from './bounded-queue.js';

describe('BoundedQueue', () => {
  it('delivers items in order, also to a waiting consumer', async () => {
    const queue = new BoundedQueue<number>(10);
    const first = queue.take();
    expect(queue.put(1)).toBeUndefined();
    expect(queue.put(2)).toBeUndefined();
    expect(await first).toBe(1);
    expect(await queue.take()).toBe(2);
  });

  it('makes producers wait while it is full', async () => {
    const queue = new BoundedQueue<number>(2);
    let waits = 0;
    const put = (item: number): void => {
      const wait = queue.put(item);
      if (wait === undefined) return;
      waits += 1;
      void wait.then(() => (waits -= 1));
    };
    for (const item of [1, 2, 3]) put(item);
    expect(waits).toBe(2);
    await queue.take();
    expect(waits).toBe(2);
    await queue.take();
    await Promise.resolve();
    expect(waits).toBe(0);
  });

  it('delivers queued items after close, and drops later ones', async () => {
    const queue = new BoundedQueue<number>(1);
    const wait = queue.put(1);
    queue.close();
    await wait;
    expect(queue.put(2)).toBeUndefined();
    expect([await queue.take(), await queue.take(), await queue.take()]).toEqual([1, undefined, undefined]);
  });

  it('resolves a waiting consumer with undefined on close', async () => {
    const queue = new BoundedQueue<number>(1);
    const waiting = queue.take();
    queue.close();
    expect(await waiting).toBeUndefined();
  });
});
