import { describe, expect, it } from '@jest/globals';
import { BufferPool, frameBytesFor } from './buffer-pool.js';
import { Budget } from './tier.js';
import { IdleBuffers } from './idle-buffers.js';
import type { FrameBuffer } from './storage.js';

const KB = 1024;
const MB = 1024 * KB;

/** A pool with all memory of a pod, and its budget. */
function makePool(capacity: number): { pool: BufferPool; used: () => number } {
  const budget = new Budget(capacity);
  const idle = new IdleBuffers(frameBytesFor(capacity), () => budget.free, { after: () => () => {} });
  return { pool: new BufferPool(budget, idle), used: () => budget.used + idle.bytes };
}

/** Leases all buffers. */
function takeAll(pool: BufferPool): Promise<FrameBuffer[]> {
  return Promise.all(Array.from({ length: pool.capacity / pool.frameBytes }, () => pool.acquire()));
}

/** Whether the promise has settled after all pending callbacks have run. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const settle = (): boolean => (done = true);
  void promise.then(settle, settle);
  await new Promise(setImmediate);
  return done;
}

describe('BufferPool', () => {
  it.each([
    [2 * MB, 256 * KB],
    [8 * MB, MB],
    [32 * MB, MB],
    [100 * KB, 64 * KB],
  ])('of %i bytes has frames of %i bytes', (capacity, frameBytes) => {
    expect(frameBytesFor(capacity)).toBe(frameBytes);
  });

  it('P2: leases no more than its capacity; further callers wait in order', async () => {
    const { pool, used } = makePool(2 * MB);
    const [first, second] = await takeAll(pool);
    expect(used()).toBe(2 * MB);
    const large = pool.claim(512 * KB);
    const small = pool.claim(KB);
    first?.detach();
    expect(await settled(Promise.race([large, small]))).toBe(false);
    second?.release();
    await large;
    expect(await settled(small)).toBe(false);
    (await large).detach();
    (await small).detach();
  });

  it('reuses a released buffer, and never a detached one', async () => {
    const { pool, used } = makePool(2 * MB);
    const [kept, free] = [await pool.acquire(), await pool.acquire()];
    kept.detach();
    kept.release();
    free.release();
    free.release();
    const again = await Promise.all([pool.acquire(), pool.acquire()]);
    expect(again.map(({ bytes }) => bytes === free.bytes)).toEqual([true, false]);
    expect(again.map(({ bytes }) => bytes === kept.bytes)).toEqual([false, false]);
    expect(used()).toBe(512 * KB);
  });

  it('P2: frees idle buffers when another reservation needs their room', async () => {
    const { pool, used } = makePool(2 * MB);
    for (const buffer of await takeAll(pool)) buffer.release();
    expect(used()).toBe(2 * MB);
    await pool.claim(MB + 1);
    expect(used()).toBeLessThanOrEqual(2 * MB);
    expect(used()).toBeGreaterThan(MB + 1);
  });

  it('serves the next caller when one stops waiting', async () => {
    const { pool } = makePool(2 * MB);
    const buffers = await takeAll(pool);
    const gone = new AbortController();
    const large = pool.claim(MB, gone.signal);
    const small = pool.acquire();
    buffers[0]?.release();
    expect(await settled(small)).toBe(false);
    gone.abort(new Error('no longer wanted'));
    await expect(large).rejects.toThrow('no longer wanted');
    await small;
    await expect(pool.acquire(gone.signal)).rejects.toThrow('no longer wanted');
  });

  it('refuses a claim above its capacity at once', async () => {
    await expect(makePool(2 * MB).pool.claim(2 * MB + 1)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });
});
