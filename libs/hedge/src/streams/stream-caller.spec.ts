import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import { type MemberId, newIncarnation } from '../common/identity.js';
import type { LeaderBelief, LeaderRoute } from '../messaging/leader-route.js';
import { PayloadCodec } from '../messaging/serializer.js';
import { MemoryNetwork } from '../testing/memory-transport.js';
import { leaderReplies } from './leader-replies.js';
import { StartGate } from '../common/async/start-gate.js';
import { NO_METRICS } from '../telemetry/metrics.js';
import { StreamCaller } from './stream-caller.js';
import { StreamReceiver } from './stream-receiver.js';

const limits = { maxMessageBytes: 1_000_000, maxQueuedBytes: 4_000_000 };
const codec = new PayloadCodec();

/** The election as one pod sees it, set by the test. */
class TestRoute implements LeaderRoute {
  refreshes = 0;
  onRefresh: () => void = () => undefined;
  #belief: LeaderBelief | undefined;
  readonly #listeners = new Set<() => void>();

  set(leader: MemberId | undefined, epoch = 1n, self = false): void {
    this.#belief = leader && { leader, epoch, self };
    for (const listener of this.#listeners) listener();
  }

  current(): LeaderBelief | undefined {
    return this.#belief;
  }

  leads(epoch: bigint): boolean {
    return this.#belief?.self === true && this.#belief.epoch === epoch;
  }

  async refresh(): Promise<void> {
    this.refreshes += 1;
    this.onRefresh();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}

let network: MemoryNetwork;

/** A pod whose leader handler echoes with its own address. */
async function pod(address: string) {
  const transport = network.transport({ address, incarnation: newIncarnation() });
  await transport.listen();
  const route = new TestRoute();
  const handlers = {
    check(topic: string) {
      if (topic !== 'echo') throw new HedgeError('NO_HANDLER', `no ${topic}`);
    },
    run: async ({
      input,
      replies,
    }: Parameters<ConstructorParameters<typeof StreamReceiver>[0]['leader']['run']>[0]) => {
      for await (const item of input) replies.push([address, item]);
    },
  };
  const shared = { transport, route, codec, limits, clock: systemClock };
  const receiver = new StreamReceiver({ ...shared, metrics: NO_METRICS, leader: handlers, broadcast: handlers });
  const caller = new StreamCaller({
    ...shared,
    gate: StartGate.opened(),
    openTimeoutMs: 400,
  });
  return { transport, route, receiver, caller, self: transport.self };
}

type Pod = Awaited<ReturnType<typeof pod>>;
let a: Pod;
let b: Pod;
let c: Pod;

beforeEach(async () => {
  network = new MemoryNetwork();
  [a, b, c] = [await pod('a:1'), await pod('b:1'), await pod('c:1')];
});
afterEach(async () => {
  await Promise.all([a, b, c].map((each) => each.transport.close()));
});

async function stream(from: Pod, topic = 'echo'): Promise<unknown[]> {
  const replies: unknown[] = [];
  const source = {
    read: 0,
    *[Symbol.iterator]() {
      for (; this.read < 2; this.read++) yield this.read;
    },
  };
  for await (const reply of leaderReplies({ caller: from.caller, topic, source, options: {} })) replies.push(reply);
  return replies;
}

/** A stream from a to b whose handler has read one message, and replied. */
async function running() {
  a.route.set(b.self, 1n);
  b.route.set(b.self, 1n, true);
  const source = (async function* () {
    yield 0;
    await new Promise(() => undefined);
  })();
  const replies = leaderReplies({ caller: a.caller, topic: 'echo', source, options: {} });
  expect((await replies.next()).value).toEqual(['b:1', 0]);
  return replies;
}

describe('a stream to the leader', () => {
  it('is routed to the next leader when a pod replies NOT_LEADER', async () => {
    a.route.set(b.self, 1n);
    c.route.set(c.self, 2n, true);
    a.route.onRefresh = () => a.route.set(c.self, 2n);
    expect(await stream(a)).toEqual([
      ['c:1', 0],
      ['c:1', 1],
    ]);
    expect(a.route.refreshes).toBe(1);
  });

  it('waits for a leader, and begins when there is one', async () => {
    c.route.set(c.self, 2n, true);
    const { route } = a;
    route.onRefresh = () => {
      route.onRefresh = () => undefined;
      setTimeout(() => route.set(c.self, 2n), 20);
    };
    expect(await stream(a)).toHaveLength(2);
  });

  it('fails with NO_LEADER without a leader, and with the last refusal when no leader accepts', async () => {
    await expect(stream(a)).rejects.toMatchObject({ code: 'NO_LEADER', retryable: true });
    a.route.set(b.self, 1n);
    await expect(stream(a)).rejects.toMatchObject({ code: 'NOT_LEADER', retryable: true });
    await b.transport.close();
    await expect(stream(a)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE', retryable: true });
  });

  it('is not retried after NO_HANDLER', async () => {
    a.route.set(b.self, 1n);
    b.route.set(b.self, 1n, true);
    await expect(stream(a, 'other')).rejects.toMatchObject({ code: 'NO_HANDLER' });
    expect(a.route.refreshes).toBe(0);
  });

  it('fails without sending anything when a pod does not answer', async () => {
    a.route.set(b.self, 1n);
    b.route.set(b.self, 1n, true);
    b.transport.serveStreams('leader-stream', () => new Promise(() => undefined));
    await expect(stream(a)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', retryable: true });
  });

  it('fails at once when its own pod closes', async () => {
    a.route.set(b.self, 1n);
    await a.transport.close();
    await expect(stream(a)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });

  it('leaves no listener, whether it succeeds or fails', async () => {
    const before = a.route.listeners;
    a.route.set(b.self, 1n);
    b.route.set(b.self, 1n, true);
    await stream(a);
    await stream(a, 'other').catch(() => undefined);
    b.route.set(b.self, 2n, true);
    await stream(a).catch(() => undefined);
    expect(a.route.listeners).toBe(before);
  });
});

describe('a stream that runs', () => {
  it.each<[string, () => void, string]>([
    ['its leader loses the lease', () => b.route.set(undefined), 'LEASE_LOST'],
    ['its caller learns of a later term', () => a.route.set(c.self, 2n), 'LEASE_LOST'],
    ['the network is cut', () => network.cut(a.self, b.self), 'MEMBER_UNREACHABLE'],
    ['its leader is killed', () => network.kill(b.self), 'MEMBER_UNREACHABLE'],
    ['its leader closes', () => void b.transport.close(), 'SHUTTING_DOWN'],
  ])('fails when %s, with its progress in the details', async (_what, happen, code) => {
    const replies = await running();
    happen();
    await expect(replies.next()).rejects.toMatchObject({ code, retryable: false, details: { sent: 1, received: 1 } });
    expect(await replies.next()).toEqual({ done: true, value: undefined });
  });

  it('stops reading an infinite source after a failure that the consumer has not seen yet', async () => {
    a.route.set(b.self, 1n);
    b.route.set(b.self, 1n, true);
    let read = 0;
    function* endless() {
      for (; read < 1_000_000; read++) yield read;
    }
    const replies = leaderReplies({ caller: a.caller, topic: 'echo', source: endless(), options: {} });
    await replies.next();
    network.cut(a.self, b.self);
    const before = read;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(read - before).toBeLessThan(20_000);
    await replies.return!();
  });

  it('continues while its caller knows no leader', async () => {
    const replies = await running();
    a.route.set(undefined);
    let ended = false;
    const next = replies.next().finally(() => (ended = true));
    next.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    await replies.return!();
  });

  it('delays the end of a drain, which accepts no new stream', async () => {
    const replies = await running();
    let drained = false;
    const drain = b.receiver.drain(1n).then(() => (drained = true));
    await expect(stream(a)).rejects.toMatchObject({ code: 'NOT_LEADER' });
    expect(drained).toBe(false);
    await replies.return!();
    await drain;
  });
});
