import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { KV_PUT } from '../../libs/hedge/src/kv/group-commit.runner.js';
import { gate, TestGroup, type TestPod } from './group.js';

let group: TestGroup;
let a: TestPod;
let b: TestPod;
let c: TestPod;

// Links that tests break are logged.

beforeEach(async () => {
  ({ group, a, b, c } = await TestGroup.ofThree());
});

afterEach(() => group.close());

const broken = (): never => {
  throw new Error('the disk of the log is full');
};

const runs = (): string[] => group.pods.flatMap((pod) => pod.ran.map(({ requestId }) => requestId));

describe('a request to the leader', () => {
  it('runs there once, and resolves with what the handler returns', async () => {
    b.handler = (data) => ({ got: data });
    const reply = a.send({ qty: 2 });
    await group.pass();
    await expect(reply).resolves.toEqual({ got: { qty: 2 } });
    expect(b.ran).toMatchObject([{ caller: a.self, attempt: 1, epoch: 1n, topic: 't', timeoutMs: 10_000 }]);
    expect(a.ran).toEqual([]);
  });

  it('runs without the network where the caller leads, on data of its own', async () => {
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
  ])('carries %s both ways', async (_name, value) => {
    const replies = [a.send(value), b.send(value)];
    await group.pass();
    await expect(Promise.all(replies)).resolves.toEqual([value, value]);
  });

  it('ends also when the logger of the app throws', async () => {
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

  it('finds the leader by reading the lease when nobody tells', async () => {
    group.elect(c, [b, c]);
    const reply = a.send('x');
    await group.pass(100);
    await expect(reply).resolves.toBe('x');
    expect(c.ran).toMatchObject([{ attempt: 2 }]);
    expect(b.ran).toEqual([]);
  });

  it('is not run by a leader that does not know of its election yet, and then is', async () => {
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

describe('exactly once in a term', () => {
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

  it('at a receiver that saw the caller come back in time', async () => {
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

  it('but not at a receiver that has forgotten the caller: then the outcome is unknown', async () => {
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
  it('takes a request that was running to the next leader, with the same id', async () => {
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

  it('interrupts what runs at a leader that lost its lease', async () => {
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

  it('during a drain lets what runs finish, and sends the rest to the next leader', async () => {
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

  it('lets a pod lead again after it drained', async () => {
    await b.messenger.drain(group.epoch);
    group.elect(b);
    const reply = a.send('x');
    await group.pass(100);
    await expect(reply).resolves.toBe('x');
  });
});

describe('a handler that', () => {
  it('throws a HedgeError is quoted as it is', async () => {
    b.handler = () => {
      throw new HedgeError('CONFLICT', 'not twice', { details: { key: 'k' } });
    };
    const reply = a.send('x');
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'CONFLICT', message: 'not twice', details: { key: 'k' } });
  });

  it('throws anything else is HANDLER_FAILED with its message', async () => {
    b.handler = () => {
      throw new TypeError('no stock');
    };
    const replies = [a.send('x'), b.send('x'), a.send('x', { to: b.self })];
    await group.pass();
    for (const reply of replies) {
      await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'no stock', retryable: false });
    }
  });

  it('throws before it makes a promise is HANDLER_FAILED', async () => {
    b.messenger.serve(KV_PUT, () => {
      throw new Error('at once');
    });
    const reply = a.send('x', { type: KV_PUT });
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'at once' });
  });

  it('throws NOT_LEADER while it leads does not make the caller try again', async () => {
    b.handler = () => {
      throw new HedgeError('NOT_LEADER', 'from a call of its own');
    };
    const reply = a.send('x');
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'HANDLER_FAILED', details: { code: 'NOT_LEADER' } });
    expect(b.ran).toHaveLength(1);
  });

  it('hangs holds its own request only, and until the deadline: both sides give up', async () => {
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

  it('is not there is NO_HANDLER', async () => {
    const reply = a.send('x', { type: KV_PUT });
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'NO_HANDLER' });
  });
});

describe('the caller', () => {
  it('can give a request up: it rejects with the reason, and the handler hears of it', async () => {
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

  it('can give many requests up by one signal, which keeps one listener, and none when they have ended', async () => {
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

  it('does not send what is given up before', async () => {
    await expect(a.send('x', { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
    const scope = new AbortController();
    const reply = b.send('x', { signal: scope.signal });
    scope.abort(new Error('in the same turn'));
    await expect(reply).rejects.toThrow('in the same turn');
    await group.pass();
    expect(runs()).toEqual([]);
  });

  it.each([0, -1, Number.NaN, Infinity, 2 ** 33])('is told when %p is no timeout', async (timeoutMs) => {
    await expect(a.send('x', { timeoutMs })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('is told the same of an oversized payload, whoever leads', async () => {
    const d = await group.start('d', { maxMessageBytes: 100 });
    for (const leader of [d, b]) {
      group.elect(leader);
      const reply = d.send(Buffer.alloc(101));
      await expect(reply).rejects.toMatchObject({
        code: 'PAYLOAD_TOO_LARGE',
        details: { bytes: 101, maxMessageBytes: 100 },
      });
    }
    expect(runs()).toEqual([]);
  });

  it('is told when the reply is too large', async () => {
    const d = await group.start('d', { maxMessageBytes: 1_000 });
    group.elect(d);
    d.handler = () => Buffer.alloc(1_001);
    const replies = [a.send('x'), d.send('x')];
    await group.pass();
    for (const reply of replies) await expect(reply).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });

  it('is told when it closes, and can send no more', async () => {
    b.handler = () => new Promise(() => undefined);
    const waiting = a.send('x');
    await group.pass();
    a.messenger.close();
    await expect(waiting).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
    await expect(a.send('x')).rejects.toMatchObject({ code: 'SHUTTING_DOWN', retryable: true });
  });
});

describe('time', () => {
  it('that a machine slept counts for a deadline', async () => {
    group.elect(undefined);
    const reply = a.send('x', { timeoutMs: 60_000 });
    await group.pass(100);
    group.clock.jumpWall(120_000);
    await group.pass(10);
    await expect(reply).rejects.toMatchObject({ code: 'NO_LEADER', details: { attempts: 0, started: false } });
  });

  it('is not watched while nothing waits', async () => {
    const reply = a.send('x');
    await group.pass(50);
    await reply;
    await group.pass(2_000);
    expect(group.clock.nextTimerMs()).toBeUndefined();
  });
});
