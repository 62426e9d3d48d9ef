import { describe, expect, it } from '@jest/globals';
import { FrameTokens, type FrameToken } from './frame-tokens.js';

const never = new AbortController().signal;

describe('FrameTokens', () => {
  it('P2: grants no more tokens than there are, and serves waiting callers in order', async () => {
    const tokens = new FrameTokens(2);
    const held = [await tokens.acquire(never), await tokens.acquire(never)];
    const order: string[] = [];
    const waiting = ['first', 'second'].map((name) =>
      tokens.acquire(never).then((token) => {
        order.push(name);
        return token;
      }),
    );
    held[0]?.release();
    held[0]?.release();
    await waiting[0];
    expect(order).toEqual(['first']);
    expect(tokens.tryAcquire()).toBeUndefined();
    held[1]?.release();
    await Promise.all(waiting);
    expect(order).toEqual(['first', 'second']);
  });

  it('grants tokens for reading ahead only while more than half are free', () => {
    const tokens = new FrameTokens(4);
    const ahead: (FrameToken | undefined)[] = [1, 2, 3].map(() => tokens.tryAcquire());
    expect(ahead.map((token) => token !== undefined)).toEqual([true, true, false]);
  });

  it('requests a flush of a partly filled frame for each waiting caller, never of a sealed one', async () => {
    const tokens = new FrameTokens(1);
    const token = await tokens.acquire(never);
    let flushed = 0;
    const filler = {
      flush: () => {
        flushed += 1;
        token.release();
      },
    };
    tokens.filling(filler);
    const next = await tokens.acquire(never);
    expect(flushed).toBe(1);
    next.release();
    tokens.filling(filler);
    tokens.filled(filler);
    await tokens.acquire(never);
    expect(flushed).toBe(1);
  });

  it('P1: requests a flush also for callers that began to wait before a frame was being filled', async () => {
    const tokens = new FrameTokens(3);
    const held = [await tokens.acquire(never), await tokens.acquire(never), await tokens.acquire(never)];
    const waiting = [tokens.acquire(never), tokens.acquire(never)];
    const flushed: number[] = [];
    held.forEach((token, i) => {
      tokens.filling({
        flush: () => {
          flushed.push(i);
          token.release();
        },
      });
    });
    await Promise.all(waiting);
    expect(flushed).toEqual([0, 1]);
  });

  it('skips a caller that stopped waiting, and keeps the token for the next', async () => {
    const tokens = new FrameTokens(1);
    const token = await tokens.acquire(never);
    const impatient = new AbortController();
    const given = tokens.acquire(impatient.signal);
    impatient.abort(new Error('given up'));
    await expect(given).rejects.toThrow('given up');
    await expect(tokens.acquire(impatient.signal)).rejects.toThrow('given up');
    token.release();
    expect(tokens.tryAcquire()).toBeDefined();
  });
});
