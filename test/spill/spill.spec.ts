import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Binary, tableFromIPC, vectorFromArray } from 'apache-arrow';
import { errorOf, expectError, MB, readAll, records, same, type SpillPod, SpillPods, until } from './pods.js';

/** The records of one of several writers. Some are so long that they span frames. */
function lengths(writer: number): number[] {
  return Array.from({ length: 300 }, (_, i) => (i % 100 === 50 ? 700_000 : 2_000) + writer);
}

describe('spilled data', () => {
  let group: SpillPods;

  beforeEach(() => {
    group = new SpillPods();
  });
  afterEach(() => group.close());

  it('P1: is read in the order of writing, whole or a range, by several readers at once', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    const written = records(5_000);
    for (const record of written) await store.write(record);
    expect(await store.close()).toMatchObject({ name: 's', records: 5_000 });
    const all = await Promise.all([readAll(store), readAll(store)]);
    for (const read of all) expect(Buffer.concat(read).equals(Buffer.concat(written))).toBe(true);
    expect(await readAll(store, { from: 1_234, to: 1_236 })).toEqual(written.slice(1_234, 1_236));
    expect(await readAll(store, { from: 7, to: 7 })).toEqual([]);
  });

  it('P1, P2: uses the disk and other pods when memory is full, and frees everything when it is dropped', async () => {
    const a = await group.start('a', { disk: 2 * MB });
    const b = await group.start('b', { memory: 16 * MB });
    const c = await group.start('c', { memory: 16 * MB });
    const store = await a.store.create('s');
    const written = records(16_000, 1_000);
    for (const record of written) {
      await store.write(record);
      if (a.used.memory > 4 * MB || a.used.disk > 2 * MB) throw new Error(`P2: ${JSON.stringify(a.used)}`);
    }
    const { shares } = await store.close();
    const places = shares.map(({ member, tier }) => `${member.address} ${tier}`);
    expect(places.sort()).toEqual(['a:1 disk', 'a:1 memory', 'b:1 memory', 'c:1 memory']);
    expect(shares.reduce((sum, share) => sum + share.records, 0)).toBe(16_000);
    const read = await readAll(store);
    expect(same(read, written)).toBe(true);
    await store.drop();
    await until(() => [a, b, c].every(({ used }) => used.memory === 0 && used.disk === 0));
  });

  it('P1: keeps the order of each of several writers, also with records that span frames', async () => {
    const a = await group.start('a');
    await group.start('b', { memory: 32 * MB });
    const store = await a.store.create('s');
    await Promise.all(
      [0, 1, 2].map((writer) =>
        pipeline(
          Readable.from(lengths(writer).map((length, i) => Buffer.alloc(length, `${writer}/${i} `))),
          store.writer(),
        ),
      ),
    );
    expect((await store.close()).records).toBe(900);
    const seen: number[][] = [[], [], []];
    for await (const record of store.read()) {
      const [writer = -1, i = -1] = record.toString('latin1', 0, 8).split(/[ /]/).map(Number);
      seen[writer]?.push(i);
      expect(record.length).toBe(lengths(writer)[i]);
    }
    for (const order of seen) expect(order).toEqual(Array.from({ length: 300 }, (_, i) => i));
  });

  it('is written in batches, and read as a Readable, as Arrow batches and as an Arrow stream', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    const written = records(3_000, 200);
    await store.writeBatch(written.slice(0, 1_000));
    await store.writeBatch(vectorFromArray(written.slice(1_000, 2_999), new Binary()));
    await store.write('text');
    written[2_999] = Buffer.from('text');
    await store.close();
    const streamed: Buffer[] = [];
    store.read().on('data', (record: Buffer) => streamed.push(record));
    await until(() => streamed.length === 3_000);
    const batched: Buffer[] = [];
    for await (const batch of store.batches()) for (const { record } of batch) batched.push(Buffer.from(record));
    const table = tableFromIPC(
      await store
        .toArrowStream({ from: 10, to: 2_990 })
        .toArray()
        .then((parts) => Buffer.concat(parts)),
    );
    const exported = Array.from({ length: table.numRows }, (_, i) =>
      Buffer.from(table.getChild('record')?.get(i) as Uint8Array),
    );
    expect(same(streamed, written)).toBe(true);
    expect(same(batched, written)).toBe(true);
    expect(same(exported, written.slice(10, 2_990))).toBe(true);
  });

  it.each([1, 16_384, 64 * MB])(
    'is exported as an Arrow stream to a sink that takes %i bytes at once',
    async (bytes) => {
      const a = await group.start('a');
      const store = await a.store.create('s');
      const written = records(3_000, 300);
      await store.writeBatch(written);
      await store.close();
      const parts: Buffer[] = [];
      // A reader that is never behind.
      const sink = new Writable({
        highWaterMark: bytes,
        write(part: Buffer, _, settled) {
          parts.push(part);
          settled();
        },
      });
      await pipeline(store.toArrowStream(), sink);
      const column = tableFromIPC(Buffer.concat(parts)).getChild('record');
      expect(
        same(
          Array.from({ length: 3_000 }, (_, i) => Buffer.from(column?.get(i) as Uint8Array)),
          written,
        ),
      ).toBe(true);
    },
  );

  it('can be empty', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    expect(await store.close()).toMatchObject({ records: 0, frames: 0, shares: [] });
    expect(await readAll(store)).toEqual([]);
    expect(
      tableFromIPC(
        await store
          .toArrowStream()
          .toArray()
          .then((parts) => Buffer.concat(parts)),
      ).numRows,
    ).toBe(0);
  });

  it('can be created by a client, which no pod can call', async () => {
    await group.start('b', { memory: 16 * MB });
    const client = await group.start('', { client: true });
    const store = await client.store.create('s');
    const written = records(8_000, 1_000);
    await store.writeBatch(written);
    expect((await store.close()).shares.map(({ member }) => member.address)).toContain('b:1');
    expect(Buffer.concat(await readAll(store)).equals(Buffer.concat(written))).toBe(true);
  });

  it('is compressed on request, and read unchanged', async () => {
    const a = await group.start('a');
    await group.start('b', { memory: 16 * MB });
    const store = await a.store.create('s', { compression: 'lz4', memoryLimit: '1MB' });
    const written = records(8_000, 1_000);
    await store.writeBatch(written);
    const { shares } = await store.close();
    expect(shares.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(MB);
    expect(Buffer.concat(await readAll(store)).equals(Buffer.concat(written))).toBe(true);
  });

  it('uses a pod that joins during writing', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    await store.writeBatch(records(2_000, 1_000));
    await group.start('b', { memory: 16 * MB });
    await store.writeBatch(records(6_000, 1_000));
    expect((await store.close()).shares.map(({ member }) => member.address)).toContain('b:1');
    expect((await readAll(store)).length).toBe(8_000);
  });

  it('sends a pod that has not advertised its capacity as many frames as one that offers as much as this pod', async () => {
    const a = await group.start('a', { memory: 16 * MB });
    await group.start('b', { memory: 16 * MB });
    await group.start('c', { memory: 16 * MB, silent: true });
    const store = await a.store.create('s');
    await store.writeBatch(records(24_000, 1_000));
    const { shares } = await store.close();
    const [b, c] = ['b:1', 'c:1'].map((address) => shares.find(({ member }) => member.address === address)?.frames);
    expect(c).toBeGreaterThan(8);
    expect(Math.abs((b ?? 0) - (c ?? 0))).toBeLessThanOrEqual(4);
  });

  describe('its name and lifetime', () => {
    it('rejects a second store of the name until the first is dropped', async () => {
      const a = await group.start('a');
      const first = await a.store.create('s');
      await expectError(a.store.create('s'), 'CONFLICT');
      expect(a.store.list().map(({ name }) => name)).toEqual(['s']);
      await first.drop();
      expect(a.store.get('s')).toBeUndefined();
      await (await a.store.create('s')).close();
    });

    it('rejects all calls after the drop', async () => {
      const a = await group.start('a');
      const store = await a.store.create('s');
      await store.write('x');
      await store.close();
      const reading = store.read();
      await store.drop();
      await store.drop();
      await expectError(store.write('x'), 'SPILL_UNKNOWN');
      await expectError(store.close(), 'SPILL_UNKNOWN');
      await expectError(async () => store.read(), 'SPILL_UNKNOWN');
      await expectError(async () => {
        for await (const _ of reading);
      }, 'SPILL_UNKNOWN');
    });

    it('rejects reads before close(), and writes after it', async () => {
      const a = await group.start('a');
      const store = await a.store.create('s');
      await store.write('x');
      await expectError(async () => store.read(), 'INVALID_ARGUMENT');
      const writer = store.writer();
      await expectError(store.close(), 'INVALID_ARGUMENT');
      writer.end();
      await until(() => writer.writableFinished);
      expect(await store.close()).toEqual(await store.close());
      await expectError(store.write('x'), 'INVALID_ARGUMENT');
      await expectError(async () => store.read({ from: 0, to: 2 }), 'INVALID_ARGUMENT');
    });

    it('rejects invalid and too large records, and accepts the next', async () => {
      const a = await group.start('a');
      const store = await a.store.create('s');
      await expectError(store.write(7 as never), 'INVALID_ARGUMENT');
      await expectError(store.write(Buffer.alloc(64 * MB + 1)), 'PAYLOAD_TOO_LARGE');
      await store.write('good');
      expect((await store.close()).records).toBe(1);
    });

    it.each([
      ['a name of nothing', '', {}],
      ['three copies', 's', { copies: 3 as never }],
      ['a size that is none', 's', { memoryLimit: '1 apple' }],
      ['no time at all', 's', { ttlMs: 0 }],
      ['an unknown compression', 's', { compression: 'zip' as never }],
    ])('rejects %s', async (_, name, options) => {
      const a = await group.start('a');
      await expectError(a.store.create(name, options), 'INVALID_ARGUMENT');
    });

    it.each<[string, (group: SpillPod) => unknown, RegExp]>([
      ['options that are none', ({ store }) => store.create('o', null as never), /must be an object .* not null/],
      ['an option that is misspelt', ({ store }) => store.create('o', { ttl: 1 } as never), /Did you mean ttlMs/],
      ['limits that leave nothing', ({ store }) => store.create('o', { memoryLimit: 0, diskLimit: 0 }), /both 0/],
      ['a text for a number', ({ store }) => store.create('o', { copies: '2' as never }), /the text '2'/],
      [
        'a batch that is none',
        ({ store }) => store.get('s')?.writeBatch('abc' as never),
        /must be an array of records/,
      ],
      ['a batch of nothing', ({ store }) => store.get('s')?.writeBatch(null as never), /must be an array of records/],
      [
        'a batch with a record that is none',
        ({ store }) => store.get('s')?.writeBatch(['a', null as never]),
        /A record/,
      ],
      ['a range that is misspelt', ({ store }) => store.get('closed')?.read({ form: 1 } as never), /Did you mean from/],
      ['a range that is none', ({ store }) => store.get('closed')?.read(null as never), /must be an object/],
    ])('rejects %s, and does nothing', async (_, call, message) => {
      const a = await group.start('a');
      const store = await a.store.create('s');
      await (await a.store.create('closed')).close();
      const error = await errorOf(async () => await call(a));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) });
      expect((await store.close()).records).toBe(0);
      expect(a.store.list().map(({ name }) => name)).toEqual(['s', 'closed']);
    });

    it('is dropped after ttlMs', async () => {
      const a = await group.start('a');
      const store = await a.store.create('s', { ttlMs: 1 });
      await until(() => a.store.list().length === 0);
      await expectError(store.write('x'), 'SPILL_UNKNOWN');
      expect(a.used).toEqual({ memory: 0, disk: 0 });
    });

    it('is dropped at the end of `use`, also when the function throws', async () => {
      const a = await group.start('a');
      const failing = a.store.use('s', {}, async (store) => {
        await store.write('x');
        throw new Error('mine');
      });
      await expect(failing).rejects.toThrow('mine');
      expect(a.store.list()).toEqual([]);
    });

    it('can be created by `use` without options, and read as an async iterable', async () => {
      const a = await group.start('a');
      const read = await a.store.use('s', async (store) => {
        await store.writeBatch(['one', 'two']);
        await store.close();
        const texts: string[] = [];
        for await (const record of store) texts.push(record.toString());
        return texts;
      });
      expect([read, a.store.list()]).toEqual([['one', 'two'], []]);
    });

    it('is not created by `use` without a function', async () => {
      const a = await group.start('a');
      const work = undefined as unknown as () => void;
      await expectError(a.store.use('s', {}, work), 'INVALID_ARGUMENT');
      expect(a.store.list()).toEqual([]);
    });
  });
});
