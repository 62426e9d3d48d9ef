import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { SpillNode } from '../../libs/hedge/src/spill/node/spill-node.js';
import type { SpillPart } from '../../libs/hedge/src/spill/node/storage.js';
import { storeIdOf } from '../../libs/hedge/src/spill/records/frame.js';
import { ByteStream } from '../../libs/hedge/src/transport/streams/byte-stream.js';
import type { PeerStream } from '../../libs/hedge/src/transport/streams/peer-stream.js';
import { errorOf, expectError, MB, readAll, records, same, type SpillPod, SpillPods, until } from './pods.js';

/** The replica of the owner's first store on that pod. */
function replicaOn(pod: SpillPod, owner: SpillPod): SpillPart {
  const id = { store: storeIdOf(owner.self.incarnation), epoch: 1, name: 's' };
  return (pod.node as SpillNode).part(id, { memory: 0, disk: 0 });
}

describe('spilled data under faults', () => {
  let group: SpillPods;

  beforeEach(() => {
    group = new SpillPods();
  });
  afterEach(() => group.close());

  it('P1: with every budget used up, a write fails with SPILL_FULL and the free bytes, and the records before stay readable', async () => {
    const a = await group.start('a');
    await group.start('b');
    const store = await a.store.create('s');
    const written = records(12_000, 1_000);
    const error = await errorOf(async () => {
      for (const record of written) await store.write(record);
      await store.close();
    });
    expect(error).toMatchObject({ code: 'SPILL_FULL', retryable: false, details: { store: 's' } });
    const free = error.details['free'] as { address: string; freeBytes: number }[];
    expect(free.map(({ address }) => address)).toEqual(['a:1', 'b:1']);
    // Less than one frame.
    expect(free.every(({ freeBytes }) => freeBytes < MB / 4)).toBe(true);
    expect(error.message).toContain('On this pod, `spill.memory` and `spill.disk` are used up');
    await expectError(store.close(), 'SPILL_FULL');
    const read = await readAll(store);
    expect(read.length).toBe(store.stats().records);
    expect(read.length).toBeGreaterThan(3_000);
    expect(same(read, written.slice(0, read.length))).toBe(true);
  });

  it('P1: a store that is full and not closed leaves the buffers to other stores', async () => {
    const a = await group.start('a');
    for (let i = 0; i < 4; i += 1) {
      const full = await a.store.create(`full${i}`, { memoryLimit: 1, diskLimit: 0 });
      const error = await errorOf(async () => {
        for (const record of records(20, 300_000)) await full.write(record);
      });
      expect(error.code).toBe('SPILL_FULL');
    }
    const other = await a.store.create('other');
    await other.write('x');
    expect((await other.close()).records).toBe(1);
  });

  it('two copies on a single pod fail with SPILL_FULL', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s', { copies: 2 });
    await store.write('x');
    expect(await errorOf(() => store.close())).toMatchObject({
      code: 'SPILL_FULL',
      message: expect.stringContaining(
        'copies: 2 needs two pods with room, and this group has 1. Start another pod, or use copies: 1;',
      ),
    });
    expect(store.stats().records).toBe(0);
  });

  it('two copies fail with the room that each pod has when only one has room', async () => {
    const b = await group.start('b');
    const filler = await b.store.create('filler');
    await errorOf(async () => {
      for (const record of records(12_000, 1_000)) await filler.write(record);
    });
    const a = await group.start('a', { memory: 16 * MB });
    const store = await a.store.create('s', { copies: 2 });
    await store.write('x');
    const error = await errorOf(() => store.close());
    expect(error.code).toBe('SPILL_FULL');
    const free = error.details['free'] as { address: string; freeBytes: number }[];
    expect(free.map(({ address }) => address)).toEqual(['a:1', 'b:1']);
    expect(free[0]!.freeBytes).toBeGreaterThan(MB);
  });

  it('P2: a store stays within its own limits on each pod', async () => {
    const a = await group.start('a', { memory: 16 * MB });
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s', { memoryLimit: '1MB', diskLimit: 0 });
    await errorOf(async () => {
      await store.writeBatch(records(4_000, 1_000));
      await store.close();
    });
    expect(store.stats().shares.map(({ bytes }) => bytes <= MB)).toEqual([true, true]);
    await expect(store.close()).rejects.toThrow('On this pod, memoryLimit and diskLimit are reached');
    expect(b.used.memory).toBeLessThan(4 * MB);
  });

  it('P1: with one copy, the error names the lost pod and the lost records, and the others can be read', async () => {
    const a = await group.start('a');
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s');
    const written = records(6_000, 1_000);
    await store.writeBatch(written);
    await store.close();
    b.kill();
    const error = await errorOf(() => readAll(store));
    expect(error).toMatchObject({ code: 'SPILL_LOST', details: { store: 's', members: ['b:1'] } });
    const { from } = error.details as { from: number };
    expect(error.message).toContain('b:1');
    const sink = new Writable({ write: (_part, _encoding, settled) => settled() });
    await expectError(pipeline(store.toArrowStream(), sink), 'SPILL_LOST');
    expect(same(await readAll(store, { from: 0, to: from }), written.slice(0, from))).toBe(true);
  });

  it('P1: all records before and after a lost frame can be read', async () => {
    const a = await group.start('a');
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s');
    const written = records(9_000, 1_000);
    await store.writeBatch(written);
    const { frames } = await store.close();
    replicaOn(b, a).remove(frames - 3);
    const read: Buffer[] = [];
    const error = await errorOf(async () => {
      for await (const record of store.read()) read.push(record);
    });
    expect(error).toMatchObject({ code: 'SPILL_LOST', details: { members: ['b:1'] } });
    const { from, to } = error.details as { from: number; to: number };
    expect(from).toBeGreaterThan(8_000);
    expect(same(read, written.slice(0, from))).toBe(true);
    expect(same(await readAll(store, { from: to }), written.slice(to))).toBe(true);
  });

  it('a read that ends early leaves no stream open', async () => {
    const a = await group.start('a');
    await group.start('b', { memory: 24 * MB });
    await group.start('c', { memory: 24 * MB });
    const store = await a.store.create('s', { copies: 2 });
    await store.writeBatch(records(9_000, 1_000));
    await store.close();
    const opened: Promise<PeerStream>[] = [];
    const { openStream } = a.transport;
    a.transport.openStream = (...call) => {
      const stream = openStream.apply(a.transport, call);
      opened.push(stream);
      return stream;
    };
    for await (const _ of store.read({ from: 5_000 })) break;
    for (let at = 0; at < opened.length; at += 1) {
      const stream = await opened[at];
      await until(() => stream?.signal.aborted === true);
    }
    expect(opened.length).toBeGreaterThan(0);
  });

  it('P1: with two copies, all records can be read when two pods have lost different frames', async () => {
    const a = await group.start('a');
    const b = await group.start('b', { memory: 24 * MB });
    const c = await group.start('c', { memory: 24 * MB });
    const store = await a.store.create('s', { copies: 2 });
    const written = records(9_000, 1_000);
    await store.writeBatch(written);
    const { frames } = await store.close();
    for (let sequence = frames - 12; sequence < frames; sequence += 1) {
      replicaOn(sequence % 4 < 2 ? b : c, a).remove(sequence);
    }
    expect(same(await readAll(store), written)).toBe(true);
  });

  it('P1: with two copies, all records can be read when one pod dies, also during the read', async () => {
    const a = await group.start('a');
    const b = await group.start('b', { memory: 24 * MB });
    const c = await group.start('c', { memory: 24 * MB });
    const store = await a.store.create('s', { copies: 2 });
    const written = records(9_000, 1_000);
    await store.writeBatch(written);
    await store.close();
    const read: Buffer[] = [];
    for await (const record of store.read()) {
      read.push(record);
      if (read.length === 6_000) b.kill();
    }
    expect(same(read, written)).toBe(true);
    expect(same(await readAll(store), written)).toBe(true);
    c.kill();
    expect(await errorOf(() => readAll(store))).toMatchObject({ code: 'SPILL_LOST' });
  });

  it.each(['stalls', 'dies', 'loses its streams'] as const)(
    'P1: frames that a pod has not acknowledged go to other pods when it %s',
    async (how) => {
      group.heartbeatTimeoutMs = 500;
      const a = await group.start('a');
      const b = await group.start('b', { memory: 32 * MB });
      const c = await group.start('c', { memory: 32 * MB });
      await group.start('d', { memory: 32 * MB });
      const store = await a.store.create('s', { copies: 2 });
      const written = records(16_000, 1_000);
      await store.writeBatch(written.slice(0, 6_000));
      if (how === 'stalls') group.network.stall(a.self, b.self);
      else if (how === 'dies') b.kill();
      else group.network.cut(a.self, b.self);
      await store.writeBatch(written.slice(6_000));
      await store.close();
      group.network.heal();
      if (how === 'stalls') b.kill();
      expect(same(await readAll(store), written)).toBe(true);
      await store.drop();
      await until(() => c.used.memory === 0);
    },
  );

  it('P1: with one copy, a read continues after the connection to a pod breaks for a moment', async () => {
    const a = await group.start('a');
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s');
    const written = records(12_000, 1_000);
    await store.writeBatch(written);
    await store.close();
    let read = 0;
    for await (const record of store.read()) {
      expect(Buffer.compare(record, written[read]!)).toBe(0);
      read += 1;
      // In the middle of the records on b, with frames in flight.
      if (read === 6_000) group.network.cut(a.self, b.self);
    }
    expect(read).toBe(written.length);
  });

  it('P1: a dropped store does not reuse the bytes that a stream may still send', async () => {
    const a = await group.start('a', { memory: 8 * MB });
    const b = await group.start('b', { memory: 8 * MB });
    const queued: { message: Uint8Array; was: Buffer; left: boolean }[] = [];
    const { write } = ByteStream.prototype;
    ByteStream.prototype.write = function (message, written) {
      const entry = { message, was: Buffer.from(message), left: false };
      if (message.length > 1_000) {
        queued.push(entry);
        group.network.stall(a.self, b.self);
      }
      return write.call(this, message, () => {
        entry.left = true;
        written?.();
      });
    };
    try {
      const store = await a.store.create('s', { copies: 2 });
      void store.writeBatch(records(1_500, 1_000)).catch(() => undefined);
      await until(() => queued.length > 0);
      void store.drop();
      const other = await a.store.create('other');
      await other.writeBatch(records(1_500, 999));
      expect(queued.filter(({ message, was, left }) => !left && !was.equals(message))).toEqual([]);
    } finally {
      ByteStream.prototype.write = write;
    }
  });

  it('P2: all pods free the replicas of a dead owner', async () => {
    group.heartbeatTimeoutMs = 300;
    const a = await group.start('a');
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s');
    await store.writeBatch(records(6_000, 1_000));
    await store.close();
    expect(b.used.memory).toBeGreaterThan(MB);
    a.kill();
    await until(() => b.used.memory === 0);
  });

  it('pods keep the replicas of a live owner, no matter how long it is idle', async () => {
    group.heartbeatTimeoutMs = 300;
    const a = await group.start('a');
    const b = await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s');
    await store.writeBatch(records(6_000, 1_000));
    await store.close();
    const renewals = group.renewals;
    await until(() => group.renewals > renewals + 90); // twice the time after which an owner without renewals counts as dead
    expect(b.used.memory).toBeGreaterThan(MB);
    expect((await readAll(store)).length).toBe(6_000);
  });
});
