import assert from 'node:assert/strict';
import { callerKey, semaphoreKey, semaphoreRowId } from '../../database/row-names.js';
import { MAX_SEMAPHORE_NAME_BYTES } from '../../database/checks.js';
import { lead, mirrorOf, newAddress, timestampOf, writeOf } from './semaphore-writes.js';
import { newName, rejectsWith, type Suite } from './suite.js';

const ALL = { limit: 9, order: 'oldest-first' } as const;

/** Rows of semaphores as SQL queries see them, and texts that they cannot store. */
export function permitRowConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('permits: rows to query', () => {
    it('keep one row in the log, under the key and id of the Go library, also when the limit changes', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const write = writeOf();
      const key = semaphoreKey(write.name);
      let follows = 0n;
      for (const [i, limit] of [3, 5, 5, 1, 12].entries()) {
        const value = `value ${i}`;
        const leader = `10.0.0.${i}:8080`;
        follows = timestampOf(await client.permits.write({ ...write, follows, limit, value, leader }, fence));
        const entry = { key, id: semaphoreRowId(limit), value, leader, timestamp: follows };
        assert.deepEqual(await client.log.history(key, ALL), [entry]);
        assert.equal((await client.permits.read(write.name))?.limit, limit);
      }
      assert.equal(key, `__hedge/semaphore/${write.name}`);
      assert.equal(semaphoreRowId(12), 'limit=12');
    });

    it('mirror the permits of each member in the same commit, and have no row for a member without permits', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const [a, b] = [newAddress(), newAddress()];
      const write = writeOf({
        holders: [{ address: a, value: 'two' }, { address: b, value: 'one' }, { address: newAddress() }],
      });
      const first = timestampOf(await client.permits.write(write, fence));
      const entry = {
        key: callerKey(a),
        id: semaphoreKey(write.name),
        value: 'two',
        leader: write.leader,
        timestamp: first,
      };
      assert.deepEqual(await client.log.history(`__caller=${a}`, ALL), [entry]);

      const holders = [{ address: a, value: 'one' }, { address: b }];
      const second = timestampOf(await client.permits.write({ ...write, follows: first, holders }, fence));
      assert.deepEqual(await client.log.history(callerKey(a), ALL), [{ ...entry, value: 'one', timestamp: second }]);
      assert.deepEqual(await client.log.history(callerKey(b), ALL), []);
      for (const prefix of [callerKey(a), callerKey(b)]) {
        const there = prefix === callerKey(a) ? [prefix] : [];
        assert.deepEqual(await client.log.keys({ prefix, limit: 9 }), there);
      }
    });

    it('change no rows of the same member for other semaphores', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const address = newAddress();
      const [one, two] = [
        writeOf({ holders: [{ address, value: 'one' }] }),
        writeOf({ holders: [{ address, value: 'two' }] }),
      ];
      const follows = timestampOf(await client.permits.write(one, fence));
      timestampOf(await client.permits.write(two, fence));
      timestampOf(await client.permits.write({ ...one, follows, holders: [{ address }] }, fence));
      const left = (await client.log.history(callerKey(address), ALL)).map(({ id, value }) => ({ id, value }));
      assert.deepEqual(left, [{ id: semaphoreKey(two.name), value: 'two' }]);
    });
  });

  describe('permits: texts', () => {
    it('accept the longest name with a long address, a value of 1 MiB, and 200 holders', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const name = newName().padEnd(MAX_SEMAPHORE_NAME_BYTES, 'x');
      const holders = Array.from({ length: 200 }, () => ({
        address: `${'a'.repeat(253)}.${newAddress()}`,
        value: 'v',
      }));
      const write = writeOf({ name, value: 'é'.repeat(2 ** 19), holders });
      timestampOf(await client.permits.write(write, fence));
      assert.equal((await client.permits.read(name))?.value, write.value);
      assert.equal((await mirrorOf(client, write))?.value, 'v');
    });

    for (const text of ['', ' ', '😀\uffff', "'; --", '\\', '%', 'limit=1']) {
      it(`return ${JSON.stringify(text)} unchanged`, async () => {
        const client = await suite.client();
        const write = writeOf({
          name: newName() + text,
          value: text,
          leader: text,
          holders: [{ address: newAddress(), value: text }],
        });
        timestampOf(await client.permits.write(write, await lead(client)));
        assert.equal((await client.permits.read(write.name))?.value, text);
        assert.equal((await client.log.latest(semaphoreKey(write.name)))?.leader, text);
        assert.equal((await mirrorOf(client, write))?.value, text);
      });
    }

    it('refuse a text that not every database can store, and write nothing', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const name = newName();
      for (const text of ['a\0b', 'a\ud800b']) {
        for (const wrong of [
          { name: name + text },
          { value: text },
          { leader: text },
          { holders: [{ address: text }] },
          { holders: [{ address: newAddress(), value: text }] },
        ]) {
          await rejectsWith('INVALID_ARGUMENT', client.permits.write(writeOf({ name, ...wrong }), fence));
        }
        await rejectsWith('INVALID_ARGUMENT', client.permits.read(name + text));
      }
      for (const limit of [0, -1, 1.5, NaN, Infinity, 1e15]) {
        await rejectsWith('INVALID_ARGUMENT', client.permits.write(writeOf({ name, limit }), fence));
      }
      for (const wrong of [
        '',
        'x'.repeat(MAX_SEMAPHORE_NAME_BYTES + 1),
        'é'.repeat(MAX_SEMAPHORE_NAME_BYTES / 2 + 1),
      ]) {
        await rejectsWith('INVALID_ARGUMENT', client.permits.write(writeOf({ name: wrong }), fence));
        await rejectsWith('INVALID_ARGUMENT', client.permits.read(wrong));
      }
      assert.equal(await client.permits.read(name), undefined);
    });
  });
}
