import assert from 'node:assert/strict';
import type { Backend } from '../../database/backend.js';
import {
  comparePlaces,
  OVERWRITE_ID,
  TOMBSTONE_SUFFIX,
  type AppendOutcome,
  type ChangesQuery,
  type Fence,
  type LogAppend,
  type LogEntry,
  type LogPlace,
  type LogPosition,
  type LogTransaction,
  type LogTransactionItem,
  type TransactionOutcome,
} from '../../database/log-table.js';
import { compareText } from '../../database/text.js';
import { HedgeError } from '../../common/errors.js';
import { claimOf, newName, rejectsWith, rowOf, tokenOf, type Suite } from './suite.js';

export function logConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('log: append', () => {
    it('K2 makes rows visible to all clients, with the timestamp that it returned', async () => {
      const [writer, reader] = [await suite.client(), await suite.client()];
      const row = rowOf(newName(), 'hello');
      const timestamp = timestampOf((await writer.log.append([row]))[0]);
      for (const client of [writer, reader]) assert.deepEqual(await client.log.latest(row.key), { ...row, timestamp });
    });

    it('writes all rows of a batch with one timestamp, and later batches with greater ones', async () => {
      const client = await suite.client();
      const key = newName();
      const timestamps: bigint[] = [];
      for (let i = 0; i < 10; i++) {
        const given = (await client.log.append([rowOf(key), rowOf(newName()), rowOf(key)])).map(timestampOf);
        assert.equal(new Set(given).size, 1);
        timestamps.push(given[0] as bigint);
      }
      assertRising(timestamps);
    });

    it('K1 is idempotent: a repeated row keeps its timestamp and its position', async () => {
      const client = await suite.client();
      const row = rowOf(newName(), 'first');
      const [first] = await client.log.append([row]);
      await client.log.append([rowOf(row.key, 'second')]);
      const [again, other] = await client.log.append([row, rowOf(row.key, 'third')]);
      assert.equal(timestampOf(again), timestampOf(first));
      assert.ok(timestampOf(other) > timestampOf(first));
      assert.deepEqual(await values(client.log.history(row.key, { limit: 9, order: 'oldest-first' })), [
        'first',
        'second',
        'third',
      ]);
    });

    it('K3 returns CONFLICT for a row that exists with another value, and writes the other rows', async () => {
      const client = await suite.client();
      const row = rowOf(newName(), 'first');
      await client.log.append([row]);
      const [before, refused, after] = await client.log.append([
        rowOf(row.key, 'before'),
        { ...row, value: 'changed' },
        rowOf(row.key, 'after'),
      ]);
      timestampOf(before);
      timestampOf(after);
      assert.ok(refused instanceof HedgeError);
      assert.equal(refused.code, 'CONFLICT');
      const stored = await values(client.log.history(row.key, { limit: 9, order: 'oldest-first' }));
      assert.deepEqual(stored.sort(), ['after', 'before', 'first']);
    });

    it('allows the same id under two keys', async () => {
      const client = await suite.client();
      const [one, two] = [rowOf(newName(), 'one', 'same'), rowOf(newName(), 'two', 'same')];
      (await client.log.append([one, two])).forEach(timestampOf);
      assert.equal((await client.log.latest(one.key))?.value, 'one');
      assert.equal((await client.log.latest(two.key))?.value, 'two');
    });

    it('accepts an empty batch', async () => {
      assert.deepEqual(await (await suite.client()).log.append([]), []);
    });

    it('accepts a value of 1 MiB, and a batch of 200 rows', async () => {
      const client = await suite.client();
      const big = rowOf(newName(), 'é'.repeat(2 ** 19));
      timestampOf((await client.log.append([big]))[0]);
      assert.equal((await client.log.latest(big.key))?.value, big.value);
      const key = newName();
      const rows = Array.from({ length: 200 }, (_, i) => rowOf(key, `value ${i}`));
      (await client.log.append(rows)).forEach(timestampOf);
      assert.equal((await client.log.history(key, { limit: 500, order: 'oldest-first' })).length, 200);
    });

    for (const text of [
      '',
      ' ',
      'zażółć gęślą jaźń',
      '{{projectId}}',
      '😀\uffff',
      "'; --",
      '"',
      '\\',
      '%',
      '_',
      '\t\r\n\u0001',
      'null',
    ]) {
      it(`returns ${JSON.stringify(text)} unchanged as key, id, value and leader`, async () => {
        const client = await suite.client();
        const row = { key: newName() + text, id: `id${text}`, value: text, leader: text };
        const timestamp = timestampOf((await client.log.append([row]))[0]);
        assert.deepEqual(await client.log.latest(row.key), { ...row, timestamp });
        const found = await latestOf(client, [row.key, newName()]);
        assert.deepEqual(found[0], { ...row, timestamp });
      });
    }

    for (const text of ['a\0b', 'a\ud800b']) {
      it(`refuses ${JSON.stringify(text)}, which not every database can store`, async () => {
        const client = await suite.client();
        const key = newName();
        await rejectsWith('INVALID_ARGUMENT', client.log.append([rowOf(key), rowOf(key, text)]));
        await rejectsWith('INVALID_ARGUMENT', client.log.append([rowOf(key + text)]));
        await rejectsWith('INVALID_ARGUMENT', client.log.overwrite({ key, value: text, leader: '' }));
        await rejectsWith('INVALID_ARGUMENT', latestOf(client, [key, key + text]));
        assert.equal(await client.log.latest(key), undefined);
      });
    }

    it('K2 reads a history of 6,000 versions completely, in both orders, however many share a commit', async () => {
      const client = await suite.client();
      const key = newName();
      const ids: string[] = [];
      for (let batch = 0; batch < 3; batch++) {
        const rows = Array.from({ length: 2_000 }, (_, i) => rowOf(key, 'v', `${batch}/${String(i).padStart(4, '0')}`));
        (await client.log.append(rows)).forEach(timestampOf);
        for (const { id } of rows) ids.push(id);
      }
      const read = async (order: 'newest-first' | 'oldest-first', limit: number) =>
        (await client.log.history(key, { limit, order })).map(({ id }) => id);
      assert.deepEqual(await read('oldest-first', 10_000), ids);
      assert.deepEqual(await read('newest-first', 10_000), ids.slice().reverse());
      assert.deepEqual(await read('newest-first', 5_500), ids.slice().reverse().slice(0, 5_500));
    });

    it('K1 K2 keeps every row of many clients that append at once, in the same order for all readers', async () => {
      const clients = await suite.clients(3);
      const key = newName();
      const written = await Promise.all(
        clients.flatMap((client, c) =>
          Array.from({ length: 15 }, async (_, i) => {
            const row = rowOf(key, `${c}/${i}`);
            return { ...row, timestamp: timestampOf((await client.log.append([row]))[0]) };
          }),
        ),
      );
      const expected = written.sort(byVersion);
      for (const client of clients) {
        assert.deepEqual(await client.log.history(key, { limit: 100, order: 'oldest-first' }), expected);
      }
    });

    it('K1 has one outcome when many clients append the same row at once', async () => {
      const clients = await suite.clients(3);
      const row = rowOf(newName());
      const outcomes = await Promise.all(clients.flatMap(({ log }) => [log.append([row]), log.append([row])]));
      assert.equal(new Set(outcomes.map(([outcome]) => timestampOf(outcome))).size, 1);
      assert.equal((await clients[0]?.log.history(row.key, { limit: 9, order: 'oldest-first' }))?.length, 1);
    });
  });

  describe('log: appendIf', () => {
    it('K4 appends a row to a key without rows, and one that follows the newest row', async () => {
      const client = await suite.client();
      const first = rowOf(newName(), 'first');
      const timestamp = await appendIf(client, first, undefined);
      assert.deepEqual(await client.log.latest(first.key), { ...first, timestamp });
      const second = rowOf(first.key, 'second');
      const next = await appendIf(client, second, { timestamp, id: first.id });
      assert.ok(next > timestamp);
      const { timestamp: overwritten } = await client.log.overwrite({ key: first.key, value: 'third', leader: '' });
      await appendIf(client, rowOf(first.key, 'fourth'), { timestamp: overwritten, id: OVERWRITE_ID });
      assert.deepEqual(await values(client.log.history(first.key, { limit: 9, order: 'oldest-first' })), [
        'first',
        'second',
        'third',
        'fourth',
      ]);
    });

    it('K4 returns the newest row of each key whose condition does not hold, and appends the others', async () => {
      const client = await suite.client();
      const [never, old, other] = [newName(), newName(), newName()];
      const rows = [rowOf(old, 'old'), rowOf(other, 'a', 'a'), rowOf(other, 'b', 'b')];
      const timestamp = timestampOf((await client.log.append(rows))[0]);
      const overtaken = { timestamp, id: rows[0]!.id };
      const newest = rowOf(old, 'é'.repeat(100_000));
      const newestAt = timestampOf((await client.log.append([newest]))[0]);
      const held = rowOf(newName());
      const outcomes = await client.log.appendIf([
        [itemOf(rowOf(never), overtaken)],
        [itemOf(rowOf(old), overtaken)],
        [itemOf(held, undefined)],
        // Of the same commit, but not the newest.
        [itemOf(rowOf(other), { timestamp, id: 'a' })],
      ]);
      const written = timestampOf(outcomes[2] as AppendOutcome);
      assert.deepEqual(outcomes, [
        refusedFor(undefined),
        refusedFor({ ...newest, timestamp: newestAt }),
        { timestamp: written },
        refusedFor({ ...rows[2]!, timestamp }),
      ]);
      assert.equal(await client.log.latest(never), undefined);
      assert.equal((await client.log.latest(other))?.value, 'b');
      assert.deepEqual(await client.log.latest(held.key), { ...held, timestamp: written });
      const absent = await client.log.appendIf([[itemOf(rowOf(other), undefined)]]);
      assert.deepEqual(absent, [refusedFor({ ...rows[2]!, timestamp })]);
    });

    it('K4 returns the newest rows also when they are large together', async () => {
      const client = await suite.client();
      const newest = ['a', 'b', 'c', 'd'].map((letter) => rowOf(newName(), letter.repeat(2_000_000)));
      const written: LogEntry[] = [];
      for (const row of newest) written.push({ ...row, timestamp: timestampOf((await client.log.append([row]))[0]) });
      const items = newest.map(({ key }) => itemOf(rowOf(key), undefined));
      const outcomes = await client.log.appendIf(items.map((item) => [item]));
      for (const [i, outcome] of outcomes.entries()) assert.deepEqual(outcome, refusedFor(written[i]));
      const [together] = await client.log.appendIf([items]);
      assert.deepEqual(together, { refused: written.map((newest, place) => ({ place, newest })) });
    });

    it('K4 is idempotent: a repeated row that was written keeps its timestamp, whatever came after it', async () => {
      const client = await suite.client();
      const row = rowOf(newName(), 'first');
      const timestamp = await appendIf(client, row, undefined);
      await client.log.append([rowOf(row.key, 'second')]);
      assert.equal(await appendIf(client, row, undefined), timestamp);
      const [changed] = await client.log.appendIf([[itemOf({ ...row, value: 'changed' }, undefined)]]);
      assert.ok(changed instanceof HedgeError);
      assert.equal(changed.code, 'CONFLICT');
      assert.deepEqual(await values(client.log.history(row.key, { limit: 9, order: 'oldest-first' })), [
        'first',
        'second',
      ]);
    });

    it('L3 writes nothing when the lease has another token', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const row = rowOf(newName());
      const fence = { lease: claim.name, token: tokenOf(await client.lease.acquire(claim)) };
      await appendIf(client, row, undefined, fence);
      tokenOf(await client.lease.acquire(claim));
      const [follows] = await client.log.history(row.key, { limit: 1, order: 'newest-first' });
      await rejectsWith('LEASE_LOST', client.log.appendIf([[itemOf(rowOf(row.key), follows)]], fence));
      assert.deepEqual(await client.log.latest(row.key), follows);
    });

    it('accepts no rows, 64 rows, and no more', async () => {
      const client = await suite.client();
      const items = Array.from({ length: 65 }, () => itemOf(rowOf(newName()), undefined));
      assert.deepEqual(await client.log.appendIf([]), []);
      await rejectsWith('INVALID_ARGUMENT', client.log.appendIf(items.map((item) => [item])));
      const outcomes = await client.log.appendIf(items.slice(1).map((item) => [item]));
      assert.equal(new Set(outcomes.map((outcome) => timestampOf(outcome as AppendOutcome))).size, 1);
      assert.equal(await client.log.latest(items[0]!.key), undefined);
    });

    it('K4 lets no write come between the check and the append, whoever else writes', async () => {
      const clients = await suite.clients(3);
      const keys = [newName(), newName()];
      /** Of each row that was written: the row before it, and whether the writer has named it. */
      const followed = new Map<string, LogPosition | undefined>();
      const each = async (client: Backend, round: number): Promise<void> => {
        const rows = await Promise.all(
          keys.map(async (key) => ({ ...rowOf(key, `if ${round}`), follows: await client.log.latest(key) })),
        );
        const outcomes = await client.log.appendIf(rows.map(({ follows, ...row }) => [itemOf(row, follows)]));
        for (const [i, { id, follows }] of rows.entries()) if ('timestamp' in outcomes[i]!) followed.set(id, follows);
        if (round % 3 === 0) await client.log.append(keys.map((key) => rowOf(key, `always ${round}`)));
      };
      await Promise.all(
        clients.map(async (client) => {
          for (let round = 1; round <= 20; round++) await each(client, round);
        }),
      );
      assert.ok(followed.size > 0, 'no condition held');
      let checked = 0;
      for (const key of keys) {
        const history = await clients[0]!.log.history(key, { limit: 1_000, order: 'oldest-first' });
        for (const [i, { id }] of history.entries()) {
          if (!followed.has(id)) continue;
          const [named, before] = [followed.get(id), history[i - 1]];
          assert.deepEqual(named && [named.timestamp, named.id], before && [before.timestamp, before.id]);
          checked += 1;
        }
      }
      assert.equal(checked, followed.size);
    });
  });

  describe('log: appendIf, with several keys in a transaction', () => {
    it('K5 appends all rows in one commit when all conditions hold, also without conditions', async () => {
      const client = await suite.client();
      const [one, two, checked] = [rowOf(newName()), tombstoneOf(newName()), rowOf(newName())];
      const at = timestampOf((await client.log.append([checked]))[0]);
      const items = [
        itemOf(one, undefined),
        { key: checked.key, condition: { follows: { timestamp: at, id: checked.id } } },
        itemOf(two),
      ];
      const [outcome] = await client.log.appendIf([items]);
      const timestamp = timestampOf(outcome as AppendOutcome);
      assert.deepEqual(await client.log.latest(one.key), { ...one, timestamp });
      assert.deepEqual(await client.log.latest(two.key), { ...two, timestamp });
      assert.deepEqual(await client.log.history(checked.key, OLDEST), [{ ...checked, timestamp: at }]);
      const free = [rowOf(one.key), rowOf(two.key)];
      const [later] = await client.log.appendIf([free.map((row) => itemOf(row))]);
      assert.ok(timestampOf(later as AppendOutcome) > timestamp);
      for (const row of free) assert.equal((await client.log.latest(row.key))?.id, row.id);
    });

    it('K5 appends no row when one condition does not hold, and names the items that are refused', async () => {
      const client = await suite.client();
      const [there, absent, other] = [rowOf(newName()), newName(), rowOf(newName())];
      const timestamp = timestampOf((await client.log.append([there, other]))[0]);
      const right = { timestamp, id: other.id };
      const wrong = { timestamp, id: there.id };
      const transactions = [
        // The wrong one is only checked, comes first, and comes last.
        [itemOf(rowOf(absent), undefined), { key: there.key, condition: { follows: undefined } }],
        [itemOf(rowOf(newName()), wrong), itemOf(rowOf(newName()))],
        [itemOf(rowOf(newName())), itemOf(rowOf(other.key), wrong)],
        [itemOf(rowOf(newName()))],
      ];
      const outcomes = await client.log.appendIf(transactions);
      assert.deepEqual(outcomes.slice(0, 3), [
        { refused: [{ place: 1, newest: { ...there, timestamp } }] },
        { refused: [{ place: 0, newest: undefined }] },
        { refused: [{ place: 1, newest: { ...other, timestamp } }] },
      ]);
      timestampOf(outcomes[3] as AppendOutcome);
      for (const { key } of transactions.slice(0, 3).flat()) {
        const before = [there, other].filter((row) => row.key === key);
        assert.deepEqual(
          (await client.log.history(key, OLDEST)).map(({ id }) => id),
          before.map(({ id }) => id),
        );
      }
      const [both] = await client.log.appendIf([[itemOf(rowOf(there.key), right), itemOf(rowOf(other.key), wrong)]]);
      assert.deepEqual(both, {
        refused: [
          { place: 0, newest: { ...there, timestamp } },
          { place: 1, newest: { ...other, timestamp } },
        ],
      });
    });

    it('K5 is idempotent: a repeated transaction that was written keeps its timestamp, whatever came after it', async () => {
      const client = await suite.client();
      const [one, two, checked] = [rowOf(newName()), rowOf(newName()), newName()];
      const items = [{ key: checked, condition: { follows: undefined } }, itemOf(one, undefined), itemOf(two)];
      const first = timestampOf((await client.log.appendIf([items]))[0] as AppendOutcome);
      await client.log.append([rowOf(one.key), rowOf(two.key), rowOf(checked)]);
      const [again] = await client.log.appendIf([items]);
      assert.deepEqual(again, { timestamp: first });
      for (const { key } of [one, two]) assert.equal((await client.log.history(key, OLDEST)).length, 2);
      const [changed] = await client.log.appendIf([[itemOf(rowOf(newName())), itemOf({ ...two, value: 'changed' })]]);
      assert.ok(changed instanceof HedgeError);
      assert.equal(changed.code, 'CONFLICT');
    });

    it('L3 writes no part when the lease has another token', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const fence = { lease: claim.name, token: tokenOf(await client.lease.acquire(claim)) };
      const rows = [rowOf(newName()), rowOf(newName())];
      await client.lease.release({ ...claim, token: fence.token });
      tokenOf(await client.lease.acquire(claimOf(claim.name)));
      await rejectsWith('LEASE_LOST', client.log.appendIf([rows.map((row) => itemOf(row, undefined))], fence));
      for (const { key } of rows) assert.equal(await client.log.latest(key), undefined);
    });

    it('accepts 64 keys in one transaction, and refuses more, a key twice, and a transaction without a row', async () => {
      const client = await suite.client();
      const items = Array.from({ length: 64 }, () => itemOf(rowOf(newName()), undefined));
      const refuse = (...transactions: LogTransaction[]): Promise<void> =>
        rejectsWith('INVALID_ARGUMENT', client.log.appendIf(transactions));
      await refuse([...items, itemOf(rowOf(newName()))]);
      await refuse([items[0]!, items[0]!]);
      await refuse([items[0]!], [items[0]!]);
      await refuse([{ key: newName(), condition: { follows: undefined } }]);
      for (const { key } of items) assert.equal(await client.log.latest(key), undefined);
      timestampOf((await client.log.appendIf([items]))[0] as AppendOutcome);
      for (const { key, append } of items) assert.equal((await client.log.latest(key))?.id, append?.id);
    });

    it('K5 moves amounts between keys while other clients do, and a reader sees the rows of each commit together', async () => {
      const [reader, ...clients] = await suite.clients(4);
      const prefix = newName();
      const start = await placeNow(reader!, prefix);
      const keys = ['a', 'b', 'c'].map((name) => `${prefix}/${name}`);
      await clients[0]!.log.append(keys.map((key) => rowOf(key, '100')));
      let moved = 0;
      const move = async ({ log }: Backend, from: string, to: string): Promise<void> => {
        const [source, target] = [await log.latest(from), await log.latest(to)];
        const rows = [rowOf(from, String(Number(source?.value) - 1)), rowOf(to, String(Number(target?.value) + 1))];
        const [outcome] = await log.appendIf([[itemOf(rows[0]!, source), itemOf(rows[1]!, target)]]);
        if (outcome !== undefined && 'timestamp' in outcome) moved += 1;
      };
      await Promise.all(
        clients.map(async (client, c) => {
          for (let i = 0; i < 12; i++) await move(client, keys[(c + i) % 3]!, keys[(c + i + 1) % 3]!);
        }),
      );
      assert.ok(moved > 0, 'no transaction was written');
      const seen: LogEntry[] = [];
      for (let more = true, next = start; more;) {
        const page = await reader!.log.changes({ prefix, ...from(next, false, 5) });
        seen.push(...page.entries);
        ({ next, more } = page);
      }
      const commits = new Map<bigint, LogEntry[]>();
      for (const entry of seen) commits.set(entry.timestamp, [...(commits.get(entry.timestamp) ?? []), entry]);
      assert.equal(commits.size, moved + 1);
      const balances = new Map<string, number>();
      for (const entries of commits.values()) {
        for (const { key, value } of entries) balances.set(key, Number(value));
        const sum = [...balances.values()].reduce((a, b) => a + b);
        assert.equal(sum, 300);
      }
    });
  });

  describe('log: fence', () => {
    it('L3 allows only the last acquirer to write', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const key = newName();
      const old = tokenOf(await client.lease.acquire(claim));
      const fence = { lease: claim.name, token: old };
      timestampOf((await client.log.append([rowOf(key, 'by the holder')], fence))[0]);
      await client.log.overwrite({ key, value: 'by the holder', leader: 'x' }, fence);
      const token = tokenOf(await client.lease.acquire(claim));
      await rejectsWith('LEASE_LOST', client.log.append([rowOf(key, 'by the old one')], fence));
      await rejectsWith('LEASE_LOST', client.log.overwrite({ key, value: 'by the old one', leader: 'x' }, fence));
      timestampOf((await client.log.append([rowOf(key, 'by the holder')], { lease: claim.name, token }))[0]);
      const stored = await values(client.log.history(key, { limit: 9, order: 'oldest-first' }));
      assert.deepEqual(stored, ['by the holder', 'by the holder', 'by the holder']);
    });

    it('refuses the token of a lease that was never acquired', async () => {
      const client = await suite.client();
      const key = newName();
      await rejectsWith('LEASE_LOST', client.log.append([rowOf(key)], { lease: newName(), token: 1n }));
      assert.equal(await client.log.latest(key), undefined);
    });

    it('stays valid after a renewal', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      await client.lease.renew({ ...claim, token });
      timestampOf((await client.log.append([rowOf(newName())], { lease: claim.name, token }))[0]);
    });
  });

  describe('log: overwrite', () => {
    it('keeps only the last row, with a rising timestamp', async () => {
      const [a, b] = [await suite.client(), await suite.client()];
      const key = newName();
      const timestamps: bigint[] = [];
      for (const [i, client] of [a, b, a].entries()) {
        const { timestamp } = await client.log.overwrite({ key, value: `v${i}`, leader: `l${i}` });
        timestamps.push(timestamp);
      }
      assertRising(timestamps);
      const last: LogEntry = { key, id: OVERWRITE_ID, value: 'v2', leader: 'l2', timestamp: timestamps[2] as bigint };
      assert.deepEqual(await b.log.history(key, { limit: 9, order: 'oldest-first' }), [last]);
    });

    it('K3 keeps the appended versions, and is ordered among them by time', async () => {
      const client = await suite.client();
      const key = newName();
      await client.log.overwrite({ key, value: 'overwritten 1', leader: '' });
      await client.log.append([rowOf(key, 'appended 1')]);
      await client.log.overwrite({ key, value: 'overwritten 2', leader: '' });
      await client.log.append([rowOf(key, 'appended 2')]);
      assert.deepEqual(await values(client.log.history(key, { limit: 9, order: 'oldest-first' })), [
        'appended 1',
        'overwritten 2',
        'appended 2',
      ]);
    });
  });

  describe('log: latest and history', () => {
    it('find nothing under a key that was never written', async () => {
      const client = await suite.client();
      assert.equal(await client.log.latest(newName()), undefined);
      assert.deepEqual(await client.log.history(newName(), { limit: 9, order: 'newest-first' }), []);
    });

    it('K2 order versions of one commit by id, by UTF-8 bytes', async () => {
      const client = await suite.client();
      const key = newName();
      const ids = ['b', 'B', 'é', '\uffff', '😀', 'a', 'ab'];
      await client.log.append(ids.map((id) => rowOf(key, id, id)));
      const sorted = [...ids].sort(compareText);
      assert.deepEqual(await values(client.log.history(key, { limit: 9, order: 'oldest-first' })), sorted);
      assert.deepEqual(await values(client.log.history(key, { limit: 9, order: 'newest-first' })), sorted.reverse());
      assert.equal((await client.log.latest(key))?.value, '😀');
    });

    it('K2 order versions by commit before id', async () => {
      const client = await suite.client();
      const key = newName();
      for (const id of ['z', 'm', 'a']) await client.log.append([rowOf(key, id, id)]);
      assert.deepEqual(await values(client.log.history(key, { limit: 9, order: 'oldest-first' })), ['z', 'm', 'a']);
      assert.equal((await client.log.latest(key))?.value, 'a');
    });

    it('count the limit from the end that comes first', async () => {
      const client = await suite.client();
      const key = newName();
      for (const value of ['1', '2', '3', '4']) await client.log.append([rowOf(key, value)]);
      assert.deepEqual(await values(client.log.history(key, { limit: 2, order: 'oldest-first' })), ['1', '2']);
      assert.deepEqual(await values(client.log.history(key, { limit: 2, order: 'newest-first' })), ['4', '3']);
    });

    it('exclude the bounds before and after, however far away they are', async () => {
      const client = await suite.client();
      const key = newName();
      const given: bigint[] = [];
      for (const value of ['1', '2', '3', '4']) {
        given.push(timestampOf((await client.log.append([rowOf(key, value)]))[0]));
      }
      const [first, , , last] = given as [bigint, bigint, bigint, bigint];
      const read = (bounds: { before?: bigint; after?: bigint }) =>
        values(client.log.history(key, { limit: 9, order: 'oldest-first', ...bounds }));
      assert.deepEqual(await read({ before: last }), ['1', '2', '3']);
      assert.deepEqual(await read({ after: first }), ['2', '3', '4']);
      assert.deepEqual(await read({ after: first, before: last }), ['2', '3']);
      assert.deepEqual(await read({ before: 2n ** 80n, after: -(2n ** 80n) }), ['1', '2', '3', '4']);
      assert.deepEqual(await read({ after: 2n ** 80n }), []);
      assert.deepEqual(await read({ before: -(2n ** 80n) }), []);
    });
  });

  describe('log: latestOf, in a driver that has it', () => {
    it('K2 finds the newest version of each key, and nothing under keys that were never written', async () => {
      const [writer, reader] = [await suite.client(), await suite.client()];
      const keys = Array.from({ length: 64 }, newName);
      const [, second, third, overwritten] = keys as [string, string, string, string];
      await writer.log.append([rowOf(second, 'second'), rowOf(third, 'old')]);
      await writer.log.append([rowOf(third, 'new')]);
      await writer.log.append([rowOf(overwritten, 'appended')]);
      await writer.log.overwrite({ key: overwritten, value: 'overwritten', leader: '' });
      for (const count of [2, 3, 4, 64]) {
        const asked = keys.slice(0, count);
        const expected = await Promise.all(asked.map((key) => reader.log.latest(key)));
        assert.deepEqual(await latestOf(reader, asked), expected);
      }
      assert.deepEqual(
        (await latestOf(reader, keys.slice(0, 4))).map((entry) => entry?.value),
        [undefined, 'second', 'new', 'overwritten'],
      );
    });

    it('K2 orders versions of one commit by id, by UTF-8 bytes', async () => {
      const client = await suite.client();
      const [one, two] = [newName(), newName()];
      await client.log.append(
        ['b', 'é', '\uffff', '😀', 'a'].flatMap((id) => [rowOf(one, id, id), rowOf(two, id, id)]),
      );
      assert.deepEqual(
        (await latestOf(client, [one, two])).map((entry) => entry?.value),
        ['😀', '😀'],
      );
    });

    it('reads large values, with some keys in each call, and bounds the bytes of a call', async () => {
      const client = await suite.client();
      const rows = Array.from({ length: 8 }, (_, i) => rowOf(newName(), String(i).repeat(2 ** 20)));
      rows.splice(3, 0, rowOf(newName(), 'small'));
      for (const row of rows) timestampOf((await client.log.append([row]))[0]);
      const keys = rows.map(({ key }) => key);
      const found = await client.log.latestOf?.(keys);
      assert.ok(found === undefined || found.size < keys.length, 'all 8 MiB came in one answer');
      const entries = await latestOf(client, keys);
      assert.deepEqual(
        entries.map((entry) => entry?.value),
        rows.map(({ value }) => value),
      );
    });
  });

  describe('log: changes', () => {
    it('W1 lists the rows of all keys with a prefix, or of one key, in the order of commits', async () => {
      const client = await suite.client();
      const prefix = newName();
      const start = await placeNow(client, prefix);
      await client.log.append([rowOf(prefix, '1', 'b'), rowOf(`${prefix}/é`, '0', 'a'), rowOf(newName())]);
      await client.log.append([rowOf(`${prefix}/x`, '2'), tombstoneOf(`${prefix}/é`)]);
      await client.log.append([rowOf(prefix, '3', 'a')]);
      await client.log.overwrite({ key: `${prefix}/x`, value: '4', leader: 'l' });
      await client.log.overwrite({ key: `${prefix}/x`, value: '5', leader: 'l' });
      const { entries, more } = await client.log.changes({ prefix, ...from(start) });
      assert.equal(more, false);
      assert.deepEqual([...entries].sort(comparePlaces), entries);
      assert.deepEqual(
        entries.filter(({ value }) => value !== '').map(({ value }) => value),
        ['0', '1', '2', '3', '5'],
      );
      assert.deepEqual(
        entries.find(({ key }) => key === prefix),
        (await client.log.history(prefix, OLDEST))[0],
      );
      const one = await client.log.changes({ prefix, ...from(start, true) });
      assert.deepEqual(one.entries, await client.log.history(prefix, OLDEST));
      assert.deepEqual((await client.log.changes({ prefix: newName(), ...from(start) })).entries, []);
    });

    it('W1 goes on behind any row, also within a commit, until nothing is left', async () => {
      const client = await suite.client();
      const prefix = newName();
      const start = await placeNow(client, prefix);
      const rows = ['b', 'a', '😀', '\uffff'].flatMap((id) => [
        rowOf(`${prefix}b`, id, id),
        rowOf(`${prefix}a`, id, id),
      ]);
      await client.log.append(rows);
      await client.log.append([rowOf(prefix)]);
      const all = (await client.log.changes({ prefix, ...from(start) })).entries;
      assert.equal(all.length, 9);
      for (const limit of [1, 2, 5]) {
        const paged: LogEntry[] = [];
        for (let more = true, next = start; more;) {
          const page = await client.log.changes({ prefix, ...from(next, false, limit) });
          assert.ok(page.entries.length <= limit);
          paged.push(...page.entries);
          ({ next, more } = page);
        }
        assert.deepEqual(paged, all);
      }
      const last = { ...all.at(-1)!, key: '\u{10ffff}' };
      const { entries, more } = await client.log.changes({ prefix, ...from(last) });
      assert.deepEqual([entries, more], [[], false]);
    });

    it('W1 finds rows behind many rows of other keys', async () => {
      const client = await suite.client();
      const [prefix, other] = [newName(), newName()];
      const row = rowOf(prefix);
      for (let i = 0; i < 6; i++) await client.log.append(Array.from({ length: 1_000 }, () => rowOf(other)));
      const timestamp = timestampOf((await client.log.append([row]))[0]);
      const [first] = await client.log.history(other, { limit: 1, order: 'oldest-first' });
      const found: LogEntry[] = [];
      for (let more = true, next: LogPlace = first!; more;) {
        const page = await client.log.changes({ prefix, ...from(next) });
        found.push(...page.entries);
        ({ next, more } = page);
      }
      assert.deepEqual(found, [{ ...row, timestamp }]);
    });

    it('W1 bounds the bytes of a page, and shows a value that is larger', async () => {
      const client = await suite.client();
      const prefix = newName();
      const start = await placeNow(client, prefix);
      const sizes = [2 ** 20, 10, 2_600_000, 2 ** 20, 2 ** 20, 10, 300_000, 300_000, 2 ** 20, 2 ** 20, 2 ** 20, 10];
      for (const [i, size] of sizes.entries()) {
        await client.log.append([rowOf(`${prefix}/${i}`, String.fromCharCode(97 + i).repeat(size))]);
      }
      const paged: LogEntry[] = [];
      for (let more = true, next = start; more;) {
        const page = await client.log.changes({ prefix, ...from(next) });
        const bytes = page.entries.reduce((sum, { value }) => sum + value.length, 0);
        assert.ok(page.entries.length <= 1 || bytes <= 4 * 2 ** 20, `a page has ${bytes} bytes`);
        paged.push(...page.entries);
        ({ next, more } = page);
      }
      assert.deepEqual(
        paged.map(({ value }) => [value[0], value.length]),
        sizes.map((size, i) => [String.fromCharCode(97 + i), size]),
      );
    });

    it('W1 has a timestamp between the rows that are visible and those that become visible later', async () => {
      const [writer, reader] = [await suite.client(), await suite.client()];
      const prefix = newName();
      for (let i = 0; i < 5; i++) {
        const before = timestampOf((await writer.log.append([rowOf(prefix)]))[0]);
        const last = await reader.log.lastTimestamp(prefix);
        assert.ok(last >= before);
        assert.ok(timestampOf((await writer.log.append([rowOf(prefix)]))[0]) > last);
      }
      await reader.log.lastTimestamp(newName());
    });

    it('W1 shows a reader that follows each row once and in order, whoever writes', async () => {
      const [reader, ...writers] = await suite.clients(4);
      const prefix = newName();
      const start = await placeNow(reader!, prefix);
      const progress = { writing: writers.length };
      const written = writers.map(async ({ log }, w) => {
        for (let i = 0; i < 25; i++) {
          const key = `${prefix}/${i % 3}`;
          if (i % 5 === 4) await log.appendIf([[itemOf(rowOf(key, `${w}/${i}`), await log.latest(key))]]);
          else await log.append([rowOf(key, `${w}/${i}`), rowOf(`${key}x`)]);
        }
        progress.writing -= 1;
      });
      const seen: LogEntry[] = [];
      let next = start;
      for (let more = true; more || progress.writing > 0;) {
        const page = await reader!.log.changes({ prefix, ...from(next, false, 7) });
        seen.push(...page.entries);
        ({ next, more } = page);
      }
      await Promise.all(written);
      for (let more = true; more;) {
        const page = await reader!.log.changes({ prefix, ...from(next) });
        seen.push(...page.entries);
        ({ next, more } = page);
      }
      const keys = await reader!.log.keys({ prefix, limit: 99 });
      const stored = await Promise.all(keys.map((key) => reader!.log.history(key, { ...OLDEST, limit: 1_000 })));
      assert.deepEqual(seen, stored.flat().sort(comparePlaces));
    });
  });

  describe('log: trim, in a driver that has it', () => {
    it('deletes the oldest versions, at most the limit in each call, and keeps the newest ones', async () => {
      const [writer, reader] = [await suite.client(), await suite.client()];
      const [key, other] = [newName(), newName()];
      for (const value of ['1', '2', '3', '4', '5', '6'])
        await writer.log.append([rowOf(key, value), rowOf(other, value)]);
      const { log } = writer;
      if (log.trim === undefined) return;
      assert.equal(await log.trim({ key, keep: 2, limit: 3 }), 3);
      assert.deepEqual(await values(reader.log.history(key, { limit: 9, order: 'oldest-first' })), ['4', '5', '6']);
      assert.equal(await log.trim({ key, keep: 2, limit: 3 }), 1);
      assert.equal(await log.trim({ key, keep: 2, limit: 3 }), 0);
      assert.equal(await log.trim({ key, keep: 9, limit: 3 }), 0);
      assert.deepEqual(await values(reader.log.history(key, { limit: 9, order: 'oldest-first' })), ['5', '6']);
      assert.equal((await reader.log.history(other, { limit: 9, order: 'oldest-first' })).length, 6);
      assert.equal(await log.trim({ key: newName(), keep: 1, limit: 3 }), 0);
    });

    it('never deletes the newest version, also among versions of one commit and after an overwrite', async () => {
      const { log } = await suite.client();
      if (log.trim === undefined) return;
      const key = newName();
      await log.append(['b', 'é', '😀', 'a', '\uffff'].map((id) => rowOf(key, id, id)));
      assert.equal(await log.trim({ key, keep: 2, limit: 9 }), 3);
      assert.deepEqual(await values(log.history(key, { limit: 9, order: 'oldest-first' })), ['\uffff', '😀']);
      const moved = newName();
      await log.overwrite({ key: moved, value: 'overwritten', leader: '' });
      await log.append([rowOf(moved, 'appended')]);
      await log.overwrite({ key: moved, value: 'overwritten again', leader: '' });
      assert.equal(await log.trim({ key: moved, keep: 1, limit: 9 }), 1);
      assert.deepEqual(await values(log.history(moved, { limit: 9, order: 'oldest-first' })), ['overwritten again']);
    });

    it('deletes only versions before the bound', async () => {
      const { log } = await suite.client();
      if (log.trim === undefined) return;
      const key = newName();
      const given: bigint[] = [];
      for (const value of ['1', '2', '3', '4']) given.push(timestampOf((await log.append([rowOf(key, value)]))[0]));
      const before = given[2] as bigint;
      assert.equal(await log.trim({ key, keep: 1, before, limit: 9 }), 2);
      assert.equal(await log.trim({ key, keep: 1, before: -(2n ** 80n), limit: 9 }), 0);
      assert.deepEqual(await values(log.history(key, { limit: 9, order: 'oldest-first' })), ['3', '4']);
      assert.equal(await log.trim({ key, keep: 1, before: 2n ** 80n, limit: 9 }), 1);
    });

    it('deletes nothing with a lost fence, and refuses to keep or to delete less than one version', async () => {
      const { lease, log } = await suite.client();
      if (log.trim === undefined) return;
      const claim = claimOf(newName());
      const key = newName();
      for (const value of ['1', '2']) await log.append([rowOf(key, value)]);
      const old = tokenOf(await lease.acquire(claim));
      const token = tokenOf(await lease.acquire(claim));
      const trim = { key, keep: 1, limit: 9 };
      await rejectsWith('LEASE_LOST', log.trim(trim, { lease: claim.name, token: old }));
      await rejectsWith('INVALID_ARGUMENT', log.trim({ ...trim, keep: 0 }));
      await rejectsWith('INVALID_ARGUMENT', log.trim({ ...trim, limit: 0 }));
      assert.equal((await log.history(key, { limit: 9, order: 'oldest-first' })).length, 2);
      assert.equal(await log.trim(trim, { lease: claim.name, token }), 1);
    });

    it('deletes a key whose newest version is a tombstone before the bound, and the tombstone as the last version', async () => {
      const { log } = await suite.client();
      if (log.trim === undefined) return;
      const [key, other] = [newName(), newName()];
      for (const value of ['1', '2', '3']) await log.append([rowOf(key, value), rowOf(other, value)]);
      const deleted = timestampOf((await log.append([tombstoneOf(key)]))[0]);
      const trim = { key, keep: 9, before: 0n, limit: 2 };
      assert.equal(await log.trim(trim), 0);
      assert.equal(await log.trim({ ...trim, tombstonesBefore: deleted }), 0);
      assert.equal(await log.trim({ ...trim, tombstonesBefore: deleted + 1n }), 2);
      assert.deepEqual(await values(log.history(key, OLDEST)), ['3', '']);
      assert.equal(await log.trim({ ...trim, tombstonesBefore: 2n ** 80n }), 2);
      assert.deepEqual(await log.history(key, OLDEST), []);
      assert.equal(await log.trim({ ...trim, tombstonesBefore: 2n ** 80n }), 0);
      assert.equal(await log.trim({ ...trim, key: other, tombstonesBefore: 2n ** 80n }), 0);
      await log.append([rowOf(key, 'again')]);
      assert.equal(await log.trim({ ...trim, tombstonesBefore: 2n ** 80n }), 0);
      await log.append([tombstoneOf(other), rowOf(other, 'anew', 'zz')]);
      await log.append([rowOf(other, 'later')]);
      assert.equal(await log.trim({ ...trim, key: other, tombstonesBefore: 2n ** 80n }), 0);
      const follows = await log.latest(key);
      timestampOf((await log.appendIf([[itemOf(rowOf(key, 'second'), follows)]]))[0] as AppendOutcome);
    });

    it('W1 reports to readers of changes what was deleted, for all prefixes and keys that it may concern', async () => {
      const [writer, reader] = [await suite.client(), await suite.client()];
      const { log } = writer;
      if (log.trim === undefined) return;
      const prefix = newName();
      const key = `${prefix}/%é😀`;
      const given: bigint[] = [];
      for (const value of ['1', '2', '3', '4']) given.push(timestampOf((await log.append([rowOf(key, value)]))[0]));
      const compacted = async (scope: string, exact = false): Promise<bigint> =>
        (await reader.log.changes({ prefix: scope, ...from({ timestamp: 0n, id: '', key: '' }, exact, 1) }))
          .compactedBefore;
      const record = { prefix: `${prefix}/`, leader: 'l' };
      assert.equal(await compacted(key, true), 0n);
      assert.equal(await log.trim({ key, keep: 9, limit: 9, record }), 0);
      assert.equal(await compacted(key, true), 0n);
      assert.equal(await log.trim({ key, keep: 1, limit: 2, record }), 2);
      const scopes = [prefix, `${prefix}/`, `${prefix}/%`, key] as const;
      for (const scope of scopes) assert.equal(await compacted(scope), given[1]! + 1n);
      assert.equal(await compacted(key, true), given[1]! + 1n);
      assert.equal(await compacted(`${prefix}/`, true), given[1]! + 1n);
      assert.equal(await compacted(prefix, true), 0n);
      for (const scope of [`${prefix}x`, newName()]) assert.equal(await compacted(scope), 0n);
      assert.equal(await log.trim({ key, keep: 1, limit: 2, record }), 1);
      assert.equal(await compacted(key), given[2]! + 1n);
      const early = `${prefix}/early`;
      const [first] = (await log.append([rowOf(early)])).map(timestampOf);
      await log.append([rowOf(early)]);
      await log.append([rowOf(key, '5')]);
      assert.equal(await log.trim({ key, keep: 1, limit: 2, record }), 1);
      assert.equal(await compacted(key), given[3]! + 1n);
      assert.equal(await log.trim({ key: early, keep: 1, limit: 2, record }), 1);
      assert.equal(await compacted(key), first! + 1n);
    });

    it('W1 never takes back what it told of deletions', async () => {
      const { log } = await suite.client();
      if (log.trim === undefined) return;
      const prefix = newName();
      const [old, young] = [`${prefix}/old`, `${prefix}/young`];
      for (const value of ['1', '2']) await log.append([rowOf(old, value)]);
      const [last] = (await log.append([rowOf(young)])).map(timestampOf);
      await log.append([rowOf(young)]);
      const record = { prefix, leader: 'l' };
      for (const key of [young, old]) assert.equal(await log.trim({ key, keep: 1, limit: 2, record }), 1);
      const page = await log.changes({ prefix, ...from({ timestamp: 0n, id: '', key: '' }) });
      assert.equal(page.compactedBefore, last! + 1n);
    });

    it('W1 leads a reader without new rows behind the rows of other keys', async () => {
      const { log } = await suite.client();
      const [key, other] = [newName(), newName()];
      let next = await placeNow({ log } as Backend, key);
      const written = timestampOf((await log.append([rowOf(other)]))[0]);
      for (let more = true; more || next.timestamp < written;) {
        ({ next, more } = await log.changes({ prefix: key, ...from(next, true) }));
      }
      assert.ok((await log.lastTimestamp(newName())) + 2_000_000_000n > written);
    });

    it('finds the keys that a trim would change, page by page', async () => {
      const { log } = await suite.client();
      const { trim, trimmable } = log;
      if (trim === undefined || trimmable === undefined) return;
      const prefix = newName();
      const keys = ['', '/a', '/b', '/é', '/😀'].map((end) => prefix + end);
      const deadline = 2n ** 80n;
      for (const key of keys.slice(1)) await log.append([rowOf(key)]);
      const second = timestampOf((await log.append([rowOf(keys[2]!), rowOf(keys[3]!)]))[0]);
      await log.append([rowOf(keys[0]!), tombstoneOf(keys[3]!), tombstoneOf(keys[4]!), rowOf(newName())]);
      const find = async (query: { keep: number; before?: bigint; tombstonesBefore?: bigint }, limit: number) => {
        const found: string[] = [];
        for (let after: string | undefined; ;) {
          const page = await log.trimmable!({ prefix, ...query, limit, ...(after !== undefined && { after }) });
          found.push(...page.keys.map((key) => key.slice(prefix.length)));
          if (page.next === undefined) return found;
          after = page.next;
        }
      };
      for (const limit of [1, 2, 9]) {
        assert.deepEqual(await find({ keep: 1 }, limit), ['/b', '/é', '/😀']);
        assert.deepEqual(await find({ keep: 2 }, limit), ['/é']);
        assert.deepEqual(await find({ keep: 3 }, limit), []);
        assert.deepEqual(await find({ keep: 1, before: second }, limit), ['/b', '/é', '/😀']);
        assert.deepEqual(await find({ keep: 1, before: 0n }, limit), []);
        assert.deepEqual(await find({ keep: 9, tombstonesBefore: deadline }, limit), ['/é', '/😀']);
        assert.deepEqual(await find({ keep: 9, tombstonesBefore: second }, limit), []);
      }
      for (const key of keys) await log.trim!({ key, keep: 1, tombstonesBefore: deadline, limit: 9 });
      assert.deepEqual(await find({ keep: 1, tombstonesBefore: deadline }, 9), []);
      assert.deepEqual(await log.keys({ prefix, limit: 9 }), keys.slice(0, 3));
      await rejectsWith('INVALID_ARGUMENT', log.trimmable!({ prefix, keep: 0, limit: 1 }));
      await rejectsWith('INVALID_ARGUMENT', log.trimmable!({ prefix, keep: 1, limit: 0 }));
    });

    it('K1 keeps the newest versions while other clients append', async () => {
      const clients = await suite.clients(2);
      const [one, two] = clients;
      if (one?.log.trim === undefined || two === undefined) return;
      const key = newName();
      const written: bigint[] = [];
      const append = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) written.push(timestampOf((await two.log.append([rowOf(key, String(i))]))[0]));
      };
      const progress = { ended: false };
      const appended = append().finally(() => (progress.ended = true));
      while (!progress.ended) await one.log.trim({ key, keep: 3, limit: 2 });
      await appended;
      while ((await one.log.trim({ key, keep: 3, limit: 2 })) > 0);
      const left = await one.log.history(key, { limit: 99, order: 'oldest-first' });
      assert.deepEqual(
        left.map(({ timestamp }) => timestamp),
        written.slice(-3),
      );
    });
  });

  describe('log: keys', () => {
    it('lists each key once, sorted by UTF-8 bytes, page by page', async () => {
      const client = await suite.client();
      const prefix = newName();
      const keys = ['', '/b', '/a', '/é', '/\uffff', '/😀', '/aa', '/A'].map((end) => prefix + end);
      for (let version = 0; version < 2; version++) await client.log.append(keys.map((key) => rowOf(key)));
      const sorted = [...keys].sort(compareText);
      assert.deepEqual(await client.log.keys({ prefix, limit: 99 }), sorted);
      const paged: string[] = [];
      for (let page = 0; page < 9; page++) {
        const after = paged.at(-1);
        paged.push(...(await client.log.keys({ prefix, limit: 3, ...(after !== undefined && { after }) })));
      }
      assert.deepEqual(paged, sorted);
    });

    it('starts at the prefix when `after` lies before it, and is empty when `after` lies beyond it', async () => {
      const client = await suite.client();
      const prefix = newName();
      await client.log.append([rowOf(`${prefix}x`)]);
      assert.deepEqual(await client.log.keys({ prefix, limit: 9, after: '' }), [`${prefix}x`]);
      assert.deepEqual(await client.log.keys({ prefix, limit: 9, after: '\u{10ffff}' }), []);
    });

    it('matches %, _, \\ and letter case literally', async () => {
      const client = await suite.client();
      const base = newName();
      const keys = ['/a%b', '/a_b', '/a\\b', '/aXb', '/AXB'].map((end) => base + end);
      await client.log.append(keys.map((key) => rowOf(key)));
      for (const [prefix, found] of [
        ['/a%', '/a%b'],
        ['/a_', '/a_b'],
        ['/a\\', '/a\\b'],
        ['/aX', '/aXb'],
        ['/A', '/AXB'],
      ] as const) {
        assert.deepEqual(await client.log.keys({ prefix: base + prefix, limit: 9 }), [base + found]);
      }
    });

    it('leaves out a key while its newest row is a tombstone, and finds the keys behind many of them', async () => {
      const client = await suite.client();
      const prefix = newName();
      const keys = Array.from({ length: 40 }, (_, i) => `${prefix}/${String(i).padStart(2, '0')}`);
      await client.log.append(keys.map((key) => rowOf(key)));
      const [first = '', ...others] = keys;
      const last = others.pop() ?? '';
      await client.log.append(others.map((key) => tombstoneOf(key)));
      assert.deepEqual(await client.log.keys({ prefix, limit: 2 }), [first, last]);
      assert.deepEqual(await client.log.keys({ prefix, limit: 1, after: first }), [last]);
      assert.deepEqual(await client.log.keys({ prefix, limit: 9, after: last }), []);
      const [again = '', overwritten = ''] = others;
      await client.log.append([rowOf(again)]);
      await client.log.overwrite({ key: overwritten, value: 'v', leader: '' });
      assert.deepEqual(await client.log.keys({ prefix, limit: 9 }), [first, again, overwritten, last]);
      assert.equal((await client.log.latest(last))?.value, 'value');
      const [buried = ''] = others.slice(-1);
      assert.equal((await client.log.latest(buried))?.value, '');
      assert.equal((await client.log.history(buried, { limit: 9, order: 'oldest-first' })).length, 2);
    });

    it('decides by the id whether a row or a tombstone of one commit is the newer one', async () => {
      const client = await suite.client();
      const prefix = newName();
      await client.log.append([
        rowOf(`${prefix}/deleted`, 'v', '1'),
        { ...tombstoneOf(`${prefix}/deleted`), id: `2${TOMBSTONE_SUFFIX}` },
        rowOf(`${prefix}/kept`, 'v', '2'),
        { ...tombstoneOf(`${prefix}/kept`), id: `1${TOMBSTONE_SUFFIX}` },
        tombstoneOf(`${prefix}/never`),
      ]);
      assert.deepEqual(await client.log.keys({ prefix, limit: 9 }), [`${prefix}/kept`]);
    });

    it('lists keys that have only an overwritten row', async () => {
      const client = await suite.client();
      const key = newName();
      await client.log.overwrite({ key, value: 'v', leader: '' });
      assert.deepEqual(await client.log.keys({ prefix: key, limit: 9 }), [key]);
    });
  });
}

async function appendIf(
  { log }: Backend,
  row: LogAppend,
  follows: LogPosition | undefined,
  fence?: Fence,
): Promise<bigint> {
  const [outcome] = await log.appendIf([[itemOf(row, follows)]], fence);
  assert.ok(outcome !== undefined && !('refused' in outcome), 'the condition should have held');
  return timestampOf(outcome);
}

/** A row, with a condition if `follows` is given, also as undefined. */
function itemOf({ key, ...append }: LogAppend, ...follows: [LogPosition | undefined] | []): LogTransactionItem {
  return { key, append, ...(follows.length > 0 && { condition: { follows: follows[0] } }) };
}

/** The outcome of a transaction of one item. */
function refusedFor(newest: LogEntry | undefined): TransactionOutcome {
  return { refused: [{ place: 0, newest }] };
}

/** The query of a page of changes, for a prefix. */
function from(after: LogPlace, exact = false, limit = 100): Omit<ChangesQuery, 'prefix'> {
  return { after, exact, limit };
}

/** Before all rows that are written after the call. */
async function placeNow({ log }: Backend, prefix: string): Promise<LogPlace> {
  return { timestamp: (await log.lastTimestamp(prefix)) + 1n, id: '', key: '' };
}

const OLDEST = { limit: 9, order: 'oldest-first' } as const;

function timestampOf(outcome: AppendOutcome | undefined): bigint {
  assert.ok(outcome !== undefined, 'an outcome is missing');
  if (outcome instanceof HedgeError) throw outcome;
  return outcome.timestamp;
}

/** Asks again for the keys that an answer leaves out. Without `latestOf` it asks for each key. */
async function latestOf({ log }: Backend, keys: readonly string[]): Promise<(LogEntry | undefined)[]> {
  const entries = new Map<string, LogEntry | undefined>();
  for (let left = keys; left.length > 0; left = left.filter((key) => !entries.has(key))) {
    const found =
      (await log.latestOf?.(left)) ??
      (await Promise.all(left.map(async (key) => [key, await log.latest(key)] as const)));
    for (const [key, entry] of found) entries.set(key, entry);
    assert.ok(
      left.some((key) => entries.has(key)),
      'an answer must contain at least one of its keys',
    );
  }
  return keys.map((key) => entries.get(key));
}

async function values(entries: Promise<readonly LogEntry[]>): Promise<string[]> {
  return (await entries).map(({ value }) => value);
}

function assertRising(timestamps: readonly bigint[]): void {
  timestamps
    .slice(1)
    .forEach((timestamp, i) => assert.ok(timestamp > (timestamps[i] as bigint), 'the timestamps must rise'));
}

function byVersion(a: LogEntry, b: LogEntry): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return compareText(a.id, b.id);
}

function tombstoneOf(key: string): LogAppend {
  const row = rowOf(key, '');
  return { ...row, id: row.id + TOMBSTONE_SUFFIX };
}
