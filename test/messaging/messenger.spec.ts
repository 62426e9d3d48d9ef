import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { KV_PUT } from '../../libs/hedge/src/kv/group-commit.runner.js';
import { gate, TestGroup, type TestPod } from './group.js';

let group: TestGroup;
let a: TestPod;
let b: TestPod;
let c: TestPod;

// Hides the warnings about links that tests break.

beforeEach(async () => {
  ({ group, a, b, c } = await TestGroup.ofThree());
});

afterEach(() => group.close());

const broken = (): never => {
  throw new Error('the disk of the log is full');
};

const runs = (): string[] => group.pods.flatMap((pod) => pod.ran.map(({ requestId }) => requestId));

describe('a request to the leader', () => {
  it('runs there once, and resolves with the result of the handler', async () => {
    b.handler = (data) => ({ got: data });
    const reply = a.send({ qty: 2 });
    await group.pass();
    await expect(reply).resolves.toEqual({ got: { qty: 2 } });
    expect(b.ran).toMatchObject([{ caller: a.self, attempt: 1, epoch: 1n, topic: 't', timeoutMs: 10_000 }]);
    expect(a.ran).toEqual([]);
  });

  it('runs without the network when the caller leads, on a copy of the data', async () => {
    const bytes = new Uint8Array([1, 2]);
    let seen: Uint8Array | undefined;
    b.handler = (data) => (seen = data as Uint8Array);
    const reply = b.send(bytes);
    await group.pass();
    const got = (await reply) as Uint8Array;
    expect([...got]).toEqual([1, 2]);
    expect(seen!.buffer).not.toBe(bytes.buffer);
    expect(got.buffer).not.toBe(seen!.buffer);
    expect([...a.transport.links(), ...b.transport.links()]).toEqual([]);
  });

  it.each([
    ['undefined', undefined],
    ['null', null],
    ['text', 'é🙂'],
    ['nested', { a: [1, { b: null }] }],
  ])('carries %s in both directions', async (_name, value) => {
    const replies = [a.send(value), b.send(value)];
    await group.pass();
    await expect(Promise.all(replies)).resolves.toEqual([value, value]);
  });

  it('completes also when the logger of the app throws', async () => {
    Object.assign(group.logger, { log: broken, warn: broken, error: broken });
    b.handler = () => gate().opened;
    const reply = a.send('x', { maxReruns: 0 });
    await group.pass();
    group.elect(c);
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  it('waits while there is no leader', async () => {
    group.elect(undefined);
    const reply = a.send('x');
    await group.pass(500);
    expect(runs()).toEqual([]);
    group.elect(c);
    await group.pass();
    await expect(reply).resolves.toBe('x');
  });

  it('reads the lease to find the leader when no notification arrives', async () => {
    group.elect(c, [b, c]);
    const reply = a.send('x');
    await group.pass(100);
    await expect(reply).resolves.toBe('x');
    expect(c.ran).toMatchObject([{ attempt: 2 }]);
    expect(b.ran).toEqual([]);
  });

  it('waits until an elected leader knows of its election, and then runs', async () => {
    group.elect(c, [a]);
    const reply = a.send('x');
    await group.pass(200);
    expect(runs()).toEqual([]);
    c.route.learn();
    await group.pass(500);
    await expect(reply).resolves.toBe('x');
    expect(runs()).toHaveLength(1);
  });
});

describe('a request runs exactly once in a term', () => {
  it('when the link breaks before the request arrives', async () => {
    let lost = 0;
    group.network.drop(({ body }) => body.$case === 'request' && (lost += 1) === 1);
    const reply = a.send('x');
    await group.pass(200);
    await expect(reply).resolves.toBe('x');
    expect(b.ran).toHaveLength(1);
  });

  it('when the link breaks before the reply arrives: the stored reply is sent again', async () => {
    let lost = 0;
    group.network.drop(({ body }) => body.$case === 'reply' && (lost += 1) === 1);
    const reply = a.send('x');
    await group.pass(200);
    await expect(reply).resolves.toBe('x');
    expect(b.ran).toHaveLength(1);
  });

  it('when the link breaks while it runs: the caller joins it', async () => {
    const { opened, open } = gate<string>();
    b.handler = () => opened;
    const reply = a.send('x');
    await group.pass();
    group.network.cut(a.self, b.self);
    await group.pass(200);
    open('done');
    await group.pass();
    await expect(reply).resolves.toBe('done');
    expect(b.ran).toHaveLength(1);
  });

  it('when links break again and again under many requests', async () => {
    let frames = 0;
    group.network.drop(({ body }) => (body.$case === 'request' || body.$case === 'reply') && (frames += 1) % 7 === 0);
    const replies = Array.from({ length: 20 }, (_, index) => a.send(index));
    for (let round = 0; round < 30; round += 1) {
      await group.pass(30);
      replies.push(a.send(replies.length));
    }
    expect(frames).toBeGreaterThan(100);
    group.network.drop(undefined);
    await group.pass(1_000);
    await expect(Promise.all(replies)).resolves.toEqual(replies.map((_, index) => index));
    expect(new Set(runs()).size).toBe(runs().length);
  });

  it('at a receiver to which the caller reconnects in time', async () => {
    const d = await group.start('d', { rememberCallerMs: 1_000 });
    group.elect(d);
    const { opened, open } = gate<string>();
    d.handler = () => opened;
    const reply = a.send('x');
    await group.pass();
    group.network.cut(a.self, d.self);
    await group.pass(2_000);
    group.network.cut(a.self, d.self);
    await group.pass(200);
    open('done');
    await group.pass();
    await expect(reply).resolves.toBe('done');
    expect(d.ran).toHaveLength(1);
  });

  it('except at a receiver that has forgotten the caller: the outcome is then unknown', async () => {
    const d = await group.start('d', { rememberCallerMs: 1_000 });
    group.elect(d);
    d.handler = () => new Promise(() => undefined);
    const reply = a.send('x', { timeoutMs: 60_000 });
    await group.pass();
    group.network.partition(a.self, d.self);
    await group.pass(2_000);
    expect(d.ran[0]?.signal.aborted).toBe(true);
    group.network.heal();
    await group.pass(2_000);
    await expect(reply).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { attempts: 1, started: true } });
    expect(d.ran).toHaveLength(1);
  });
});

describe('a leader change', () => {
  it('moves a running request to the next leader, with the same id', async () => {
    b.handler = () => new Promise(() => undefined);
    const reply = a.send('x');
    await group.pass();
    group.network.kill(b.self);
    await group.pass(1_000);
    group.elect(c, [a, c]);
    await group.pass(200);
    await expect(reply).resolves.toBe('x');
    expect(c.ran).toMatchObject([{ requestId: b.ran[0]!.requestId, attempt: 2, epoch: 2n }]);
  });

  it('interrupts running requests at a leader that lost its lease', async () => {
    b.handler = () => new Promise(() => undefined);
    const replies = [a.send('x'), b.send('y'), a.send('z', { maxReruns: 0 })];
    await group.pass();
    const signals = b.ran.map(({ signal }) => signal);
    group.elect(undefined, [b]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true]);
    await group.pass(100);
    group.elect(c);
    await group.pass(1_000);
    await expect(Promise.all(replies.slice(0, 2))).resolves.toEqual(['x', 'y']);
    await expect(replies[2]).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
    expect(c.ran.map(({ attempt }) => attempt)).toEqual([2, 2]);
  });

  it('with a drain lets running requests finish, and sends the rest to the next leader', async () => {
    const { opened, open } = gate<string>();
    b.handler = () => opened;
    const running = a.send('running');
    await group.pass();
    let drained = false;
    const drain = b.messenger.drain(group.epoch).then(() => (drained = true));
    const later = [a.send('later'), b.send('later')];
    await group.pass(500);
    expect(b.ran).toHaveLength(1);
    expect(drained).toBe(false);
    open('done');
    await drain;
    await group.pass();
    await expect(running).resolves.toBe('done');
    group.elect(c);
    await group.pass(1_000);
    await expect(Promise.all(later)).resolves.toEqual(['later', 'later']);
    expect(c.ran).toHaveLength(2);
  });

  it('allows a pod to lead again after it drained', async () => {
    await b.messenger.drain(group.epoch);
    group.elect(b);
    const reply = a.send('x');
    await group.pass(100);
    await expect(reply).resolves.toBe('x');
  });
});

describe('a request', () => {
  it('fails with the same HedgeError that its handler throws', async () => {
    b.handler = () => {
      throw new HedgeError('CONFLICT', 'not twice', { details: { key: 'k' } });
    };
    const reply = a.send('x');
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'CONFLICT', message: 'not twice', details: { key: 'k' } });
  });

  it('fails with HANDLER_FAILED and the message of any other error of its handler', async () => {
    b.handler = () => {
      throw new TypeError('no stock');
    };
    const replies = [a.send('x'), b.send('x'), a.send('x', { to: b.self })];
    await group.pass();
    for (const reply of replies) {
      await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'no stock', retryable: false });
    }
  });

  it('fails with HANDLER_FAILED when its handler throws before it returns a promise', async () => {
    b.messenger.serve(KV_PUT, () => {
      throw new Error('at once');
    });
    const reply = a.send('x', { type: KV_PUT });
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'at once' });
  });

  it('is not retried when its handler throws NOT_LEADER while the pod leads', async () => {
    b.handler = () => {
      throw new HedgeError('NOT_LEADER', 'from a call of its own');
    };
    const reply = a.send('x');
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', details: { code: 'NOT_LEADER' } });
    expect(b.ran).toHaveLength(1);
  });

  it('whose handler hangs blocks no other request, and both sides end it at its deadline', async () => {
    b.handler = (data) => (data === 'hang' ? new Promise(() => undefined) : data);
    const hung = a.send('hang', { timeoutMs: 300 });
    await group.pass();
    const { signal } = b.ran[0]!;
    const others = Array.from({ length: 20 }, (_, index) => a.send(index));
    await group.pass();
    await expect(Promise.all(others)).resolves.toHaveLength(20);
    expect(signal.aborted).toBe(false);
    await group.pass(320);
    expect(signal.reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await expect(hung).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retryable: false,
      details: { requestId: b.ran[0]!.requestId, attempts: 1, started: true },
    });
  });

  it('without a handler fails with NO_HANDLER', async () => {
    const reply = a.send('x', { type: KV_PUT });
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'NO_HANDLER' });
  });
});

describe('the caller', () => {
  it('cancels a request: it rejects with the reason, and the signal of the handler aborts', async () => {
    b.handler = () => new Promise(() => undefined);
    const scope = new AbortController();
    const replies = [a.send('x', { signal: scope.signal }), b.send('x', { signal: scope.signal })];
    await group.pass();
    const signals = b.ran.map(({ signal }) => signal);
    expect(signals).toHaveLength(2);
    scope.abort(new Error('closed the tab'));
    for (const reply of replies) await expect(reply).rejects.toThrow('closed the tab');
    await group.pass();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  it('cancels many requests by one signal, which has one listener, and none after they have ended', async () => {
    b.handler = (data) => (data === 'hang' ? new Promise(() => undefined) : data);
    const scope = new AbortController();
    const listeners = (): number => getEventListeners(scope.signal, 'abort').length;
    const short = Array.from({ length: 20 }, () => a.send('x', { signal: scope.signal }));
    expect(listeners()).toBe(1);
    await group.pass();
    await Promise.all(short);
    expect(listeners()).toBe(0);
    const long = Array.from({ length: 20 }, () => a.send('hang', { signal: scope.signal }));
    await group.pass();
    scope.abort(new Error('enough'));
    for (const reply of long) await expect(reply).rejects.toThrow('enough');
  });

  it('does not send a request whose signal is already aborted', async () => {
    await expect(a.send('x', { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
    const scope = new AbortController();
    const reply = b.send('x', { signal: scope.signal });
    scope.abort(new Error('in the same turn'));
    await expect(reply).rejects.toThrow('in the same turn');
    await group.pass();
    expect(runs()).toEqual([]);
  });

  it.each([0, -1, Number.NaN, Infinity, 2 ** 33])('gets INVALID_ARGUMENT for the timeout %p', async (timeoutMs) => {
    await expect(a.send('x', { timeoutMs })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('gets the same error for an oversized payload, whichever pod leads', async () => {
    const d = await group.start('d', { maxMessageBytes: 100 });
    for (const leader of [d, b]) {
      group.elect(leader);
      const reply = d.send(Buffer.alloc(101));
      await expect(reply).rejects.toMatchObject({
        code: 'PAYLOAD_TOO_LARGE',
        message: expect.stringContaining('raise limits.maxMessageBytes on all pods'),
        details: { bytes: 101, maxMessageBytes: 100 },
      });
    }
    expect(runs()).toEqual([]);
  });

  it('gets an error when the reply is too large', async () => {
    const d = await group.start('d', { maxMessageBytes: 1_000 });
    group.elect(d);
    d.handler = () => Buffer.alloc(1_001);
    const replies = [a.send('x'), d.send('x')];
    await group.pass();
    for (const reply of replies) await expect(reply).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });

  it('gets an error for its waiting requests when it closes, and cannot send any more', async () => {
    b.handler = () => new Promise(() => undefined);
    const waiting = a.send('x');
    await group.pass();
    a.messenger.close();
    await expect(waiting).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
    await expect(a.send('x')).rejects.toMatchObject({ code: 'SHUTTING_DOWN', retryable: true });
  });
});

describe('the deadline timer', () => {
  it('counts the time during which the machine slept', async () => {
    group.elect(undefined);
    const reply = a.send('x', { timeoutMs: 60_000 });
    await group.pass(100);
    group.clock.jumpWall(120_000);
    await group.pass(10);
    await expect(reply).rejects.toMatchObject({ code: 'NO_LEADER', details: { attempts: 0, started: false } });
  });

  it('does not run while no request waits', async () => {
    const reply = a.send('x');
    await group.pass(50);
    await reply;
    await group.pass(2_000);
    // Only the timer of the links remains, which looks for unused ones.
    expect(group.clock.nextTimerMs()).toBeGreaterThan(10_000);
  });
});
