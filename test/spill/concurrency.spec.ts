import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { addAbortSignal, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { expectError, readAll, records, same, SpillPods, type SpillPod, until } from './pods.js';

/** More frames than a pod with the least memory can have in flight. */
const MANY = 12;

async function microtasks(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await Promise.resolve();
}

/** Reads slowly: waits after each record. */
async function iterate(reading: AsyncIterable<Buffer>, stop: () => void): Promise<void> {
  for await (const _ of reading) stop();
}

describe('spilled data with concurrent calls', () => {
  let group: SpillPods;
  let pod: SpillPod;

  beforeEach(async () => {
    group = new SpillPods();
    pod = await group.start('a');
  });
  afterEach(() => group.close());

  it('P1: can be written when more stores are open than frames can be in flight', async () => {
    const stores = await Promise.all(Array.from({ length: MANY }, (_, i) => pod.store.create(`s${i}`)));
    await Promise.all(stores.map((store) => store.write(store.name)));
    for (const store of stores) {
      await store.close();
      expect(String(await readAll(store))).toBe(store.name);
    }
  });

  it('P1: serves more writers and more readers than frames can be in flight', async () => {
    const store = await pod.store.create('s');
    const writers = Array.from({ length: 30 }, () => store.writer());
    await Promise.all(writers.map((writer) => writer.writeBatch(records(40, 1_000))));
    for (const writer of writers) await finished(writer.end());
    await store.close();
    const reads = await Promise.all(writers.map(() => readAll(store)));
    expect(reads.map(({ length }) => length)).toEqual(writers.map(() => 30 * 40));
  });

  it('P1: refuses records from the call of close() on, and keeps all records before', async () => {
    for (let wait = 0; wait < 20; wait += 1) {
      const store = await pod.store.create('s');
      const first = store.write('first');
      await microtasks(wait);
      const closing = store.close();
      const late = store.write('late').then(
        () => 1,
        () => 0,
      );
      expect(() => store.writer()).toThrow('was closed');
      await first;
      expect((await closing).records).toBe(1 + (await late));
      await store.drop();
    }
  });

  it('P1: refuses records of a writer that has ended', async () => {
    const store = await pod.store.create('s');
    const writer = store.writer();
    writer.end('one');
    await once(writer, 'close');
    await expectError(writer.writeRecord('late'), 'INVALID_ARGUMENT');
    expect((await store.close()).records).toBe(1);
  });

  it('P1: keeps the accepted records of a destroyed writer, and does not change after close()', async () => {
    const store = await pod.store.create('s');
    const writer = store.writer();
    await writer.writeRecord('one');
    writer.destroy();
    await once(writer, 'close');
    expect((await store.close()).records).toBe(1);
    // Needs all buffers, also that of the destroyed writer.
    for (let i = 0; i < MANY; i += 1) await (await pod.store.create(`s${i}`)).write('x');
    expect(store.stats().records).toBe(1);
    expect(await readAll(store)).toEqual([Buffer.from('one')]);
  });

  it('P2: frees everything when it is dropped at any moment of a write', async () => {
    for (let wait = 0; wait < 30; wait += 1) {
      const store = await pod.store.create('s');
      const writing = store.write('x').catch(() => undefined);
      await microtasks(wait);
      await store.drop();
      await writing;
      expect(pod.used).toEqual({ memory: 0, disk: 0 });
    }
  });

  it('P1: returns each record to one of several concurrent calls of next(), in order', async () => {
    const store = await pod.store.create('s');
    const written = records(2_000, 1_000);
    await store.writeBatch(written);
    await store.close();
    const iterator = store.read()[Symbol.asyncIterator]();
    const results = await Promise.all(Array.from({ length: 2_001 }, () => iterator.next()));
    expect(results.pop()?.done).toBe(true);
    expect(results.every(({ value }, i) => written[i]?.equals(value as Buffer) === true)).toBe(true);
  });

  it('P1: is read to its end by a slow reader of the stream', async () => {
    const store = await pod.store.create('s');
    const written = records(2_000, 1_000);
    await store.writeBatch(written);
    await store.close();
    for (const highWaterMark of [1, 16, 1_000]) {
      const read: Buffer[] = [];
      const slow = new Writable({
        objectMode: true,
        highWaterMark,
        write: (record: Buffer, _, settled) => void (read.push(record), setImmediate(settled)),
      });
      await pipeline(store.read(), slow);
      expect(same(read, written)).toBe(true);
    }
  });

  it('P1: fails a read whose stream is destroyed before the last record', async () => {
    const store = await pod.store.create('s');
    await store.writeBatch(records(2_000, 1_000));
    await store.close();
    const stopping = new AbortController();
    const aborted = store.read();
    aborted.on('error', () => undefined);
    await expect(iterate(addAbortSignal(stopping.signal, aborted), () => stopping.abort())).rejects.toThrow('aborted');
    const destroyed = store.read();
    await expectError(
      iterate(destroyed, () => void destroyed.destroy()),
      'CANCELLED',
    );
  });

  it('cannot be created when its pod stops', async () => {
    const store = await pod.store.create('s');
    await store.write('x');
    const stopping = pod.runtime.close();
    await expectError(pod.store.create('t'), 'SHUTTING_DOWN');
    await stopping;
    await until(() => pod.used.memory === 0);
  });
});
