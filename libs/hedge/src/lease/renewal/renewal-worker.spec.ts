import { beforeEach, describe, expect, it } from '@jest/globals';
import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { TIMING_PRESETS } from '../../common/timing.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { Liveness } from './liveness.js';
import type { ToRenewalThread } from './renewal.messages.js';
import { RenewalWorker } from './renewal-worker.js';

/** A thread of which a test sees the messages, and which does as the test says. */
class FakeThread extends EventEmitter {
  readonly received: ToRenewalThread[] = [];
  terminated = false;

  ready(): void {
    this.emit('message', { type: 'ready' });
  }

  postMessage(message: ToRenewalThread): void {
    this.received.push(message);
    if (message.type === 'end') this.emit('exit', 0);
  }

  terminate(): void {
    this.terminated = true;
  }

  ref(): void {}

  unref(): void {}
}

const holder = { address: 'a:1', incarnation: 'one' };

describe('RenewalWorker', () => {
  let clock: VirtualClock;
  let threads: FakeThread[];
  let worker: RenewalWorker;

  const hold = (name: string, token: bigint): void =>
    worker.hold({
      name,
      holder,
      term: { token, renewals: 0n, validSince: clock.now() },
      batched: true,
      changed: () => undefined,
      failed: () => undefined,
    });

  beforeEach(() => {
    clock = new VirtualClock();
    threads = [];
    worker = new RenewalWorker({
      backend: { module: 'file:///driver.js', make: 'driver', options: {} },
      timing: TIMING_PRESETS.local,
      maxStallMs: 6_000,
      liveness: new Liveness(),
      clock,
      logger: { warn: () => undefined },
      startThread: () => {
        const thread = new FakeThread();
        threads.push(thread);
        return thread as unknown as Worker;
      },
    });
  });

  it('L1: gives to a thread that replaces a dead one the held terms, and the tokens that peers have named', async () => {
    const started = worker.start();
    threads[0]!.ready();
    await started;
    hold('a', 7n);
    hold('b', 8n);
    worker.heard('a', 9n, 3_000);
    worker.heard('other', 10n, 3_000);
    worker.drop('b', 8n);
    threads[0]!.emit('exit', 1);
    clock.advance(1_000);
    expect(threads).toHaveLength(2);
    expect(threads[1]!.received).toMatchObject([
      { type: 'hold', name: 'a', token: 7n },
      { type: 'heard', name: 'a', token: 9n, leaseMs: 3_000 },
    ]);
  });

  it('asks a thread to end that is closed while it starts, because its terminated calls would abort the process', async () => {
    const started = worker.start();
    let closed = false;
    const closing = worker.close().then(() => (closed = true));
    await Promise.resolve();
    expect(closed).toBe(false);
    threads[0]!.ready();
    await started;
    await closing;
    expect(threads[0]!.received).toEqual([{ type: 'end' }]);
    expect(threads[0]!.terminated).toBe(false);
  });
});
