import { describe, expect, it } from '@jest/globals';
import { BoomFilter, Foreign, Orders, everything } from './sample-handlers.js';
import { appWith } from './wired-app.js';

describe('handlers that the module connects', () => {
  it('run with guards, pipes, interceptors and context, in controllers', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'price', { qty: 2, extra: true })).toEqual({
      wrapped: { total: 6, isOrder: true, id: 'r1' },
    });
    await expect(call('leader', 'price', { qty: 2, deny: true })).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      message: 'Forbidden resource',
    });
  });

  it('run in providers, with the guards of their module', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'job', { n: 1 })).toEqual({ data: { n: 1 }, unit: 3 });
    await expect(call('leader', 'job', { deny: true })).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
  });

  it('can serve the leader and all pods at once', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'both')).toEqual({ token: '7', from: 'pod-b:7400', attempt: 1 });
    expect(await call('broadcast', 'both')).toMatchObject({ token: 'undefined' });
  });

  it('are created for each request when they are request-scoped', async () => {
    const { call } = await appWith(everything);
    const first = (await call('broadcast', 'scoped', { n: 1 })) as { number: number };
    expect(first).toMatchObject({ data: { n: 1 }, unit: 3 });
    expect(await call('broadcast', 'scoped', { n: 2 })).toMatchObject({ number: first.number + 1, data: { n: 2 } });
    const controller = (await call('leader', 'scoped')) as { number: number };
    expect(await call('leader', 'scoped')).toEqual({ number: controller.number + 1, unit: 3 });
  });

  it('reply with undefined, bytes, and the last value of an Observable', async () => {
    const { call } = await appWith(everything);
    expect(await call('leader', 'nothing')).toBeUndefined();
    expect(await call('leader', 'bytes', Uint8Array.of(1, 2))).toEqual(Uint8Array.of(2, 3));
    expect(await call('leader', 'last')).toBe(3);
    expect(await call('leader', 'empty')).toBeUndefined();
  });

  it('end with the request when their Observable never completes', async () => {
    const { call } = await appWith(everything);
    const abort = new AbortController();
    const reply = call('leader', 'never', undefined, abort.signal);
    abort.abort(new Error('deadline'));
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'deadline' });
  });

  it.each([
    ['boom', 'caught', { error: { boom: 'bang', message: 'caught' } }],
    ['plain', 'no stock', {}],
    ['http', 'qty', { status: 400, response: { statusCode: 400, message: 'qty', error: 'too few' } }],
    ['rpc', 'Rpc Exception', { error: { reason: 'closed' } }],
  ])('fail as HANDLER_FAILED when they threw %s', async (topic, message, details) => {
    const { call } = await appWith(everything);
    await expect(call('leader', topic)).rejects.toMatchObject({ code: 'HANDLER_FAILED', message, details });
  });

  it('do not cause a retry of the caller by an error of their own calls', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'not-leader')).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      retryable: false,
      details: { error: { code: 'NOT_LEADER' } },
    });
  });

  it('fail as HANDLER_FAILED when their result cannot be serialized', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'bigint')).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
  });

  it('report the details of a failed validation', async () => {
    const { call } = await appWith(everything);
    await expect(call('leader', 'price', { qty: 'two' })).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      details: { status: 400, response: { message: ['qty must be an integer number'] } },
    });
  });

  it('exclude handlers of another transport and of another kind', async () => {
    const { call } = await appWith({ controllers: [Foreign, Orders] });
    await expect(call('broadcast', 'price')).rejects.toMatchObject({
      code: 'NO_HANDLER',
      message: expect.stringMatching(/on pod pod-a:7400, which has /),
      details: { topic: 'price', pod: 'pod-a:7400' },
    });
    await expect(call('leader', 'pryce')).rejects.toThrow(
      /on pod pod-a:7400 \(the leader\), which has .*'price', 'both'/,
    );
  });

  it('run the global enhancers of the options before their own', async () => {
    const seen: string[] = [];
    const note = (name: string) => void seen.push(name);
    const { call } = await appWith(everything, {
      guards: [{ canActivate: () => (note('guard'), true) }],
      pipes: [{ transform: (value: unknown) => (note('pipe'), value) }],
      interceptors: [{ intercept: (_, next) => (note('interceptor'), next.handle()) }],
      filters: [new BoomFilter()],
    });
    await call('leader', 'job', {});
    expect(seen).toEqual(['guard', 'interceptor', 'pipe']);
    await expect(call('leader', 'plain')).rejects.toMatchObject({ message: 'no stock' });
  });
});
