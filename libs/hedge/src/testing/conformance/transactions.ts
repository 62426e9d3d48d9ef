import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../../database/backend.js';
import type { LeaseClaim } from '../../database/lease-table.js';
import type { Fence } from '../../database/log-table.js';
import type { LastInTransaction } from '../../database/sql-transactions/library.js';
import type { PermitFence, UserTransactions } from '../../database/user-transactions.js';
import { HedgeError } from '../../common/errors.js';
import { newAddress, timestampOf, writeOf } from './semaphore-writes.js';
import { claimOf, newName, rejectsWith, rowOf, tokenOf, type Suite } from './suite.js';

/** Races of a transaction with the acquisition that ends its lease. Each has another delay between the two. */
const RACES = 15;
/** How long a test lets a call go on that may wait for the transaction. It shortens no wait of the driver. */
const MEANWHILE_MS = 300;

/**
 * A library of applications, connected to the database of the factory, so that the suite can run transactions of an
 * application.
 */
export interface ConformanceApplication {
  /** Name of the library, for the titles. */
  readonly name: string;
  /** A data source for `UserTransactions.run`. The suite reads it inside of tests. */
  readonly source: () => unknown;
  /**
   * A table of the application with a column of texts. Absent for a driver whose fence only compares, as `memory`: then
   * the suite skips the tests of commits.
   */
  readonly table?: {
    /** Adds a row in the transaction: without a promise when the library is synchronous. */
    insert(tx: unknown, id: string): unknown;
    /** Whether a committed transaction has added it. */
    has(id: string): Promise<boolean>;
  };
  /** Runs work in a transaction that the driver did not begin. Absent when the library is synchronous. */
  begin?(work: (tx: unknown) => Promise<void>): Promise<unknown>;
  /** Objects of the library that are no open transaction. The driver must refuse to fence them. */
  readonly outside?: () => readonly unknown[];
}

/** The contract of `UserTransactions`, with each application. */
export function transactionConformance(suite: Suite): void {
  const { describe, it } = suite.runner;
  const { applications = [] } = suite.conformance;

  describe('transactions of the user', () => {
    it('are tested with an application, if the driver takes part in them', async () => {
      const { transactions } = await suite.client();
      assert.equal(transactions !== undefined, applications.length > 0, 'Give `applications` to backendConformance.');
    });

    for (const application of applications) {
      describe(application.name, () => {
        sharedTests(suite, application);
        const { table } = application;
        if (table !== undefined) commitTests(suite, application, table);
      });
    }
  });
}

/** What every driver with `transactions` does. */
function sharedTests(suite: Suite, { source }: ConformanceApplication): void {
  const { it } = suite.runner;

  it('run returns the result of the work', async () => {
    const holder = await Holder.acquire(suite);
    assert.equal(await holder.transactions.run(source(), () => 7, holder.fence), 7);
    assert.equal(await holder.transactions.run(source(), () => 8), 8);
  });

  it('run passes the error of the work unchanged, and does not fence', async () => {
    const { transactions } = await Holder.acquire(suite);
    const error = new Error('of the work');
    const work = () => {
      throw error;
    };
    await assert.rejects(transactions.run(source(), work, notReached), (thrown) => thrown === error);
  });

  it('F1 a fence holds until a successor acquires the lease, also after a release, and then it is LEASE_LOST', async () => {
    const holder = await Holder.acquire(suite);
    const run = () => holder.transactions.run(source(), () => undefined, holder.fence);
    await run();
    await holder.release();
    await run();
    await holder.succeed();
    await rejectsWith('LEASE_LOST', run());
  });

  it('F1 a fence of a lease that was never acquired is LEASE_LOST', async () => {
    const { transactions } = await Holder.acquire(suite);
    const fence = { lease: newName(), token: 1n };
    const run = transactions.run(
      source(),
      () => undefined,
      (tx) => transactions.fence(tx, fence),
    );
    await rejectsWith('LEASE_LOST', run);
  });

  it('F1 a fence of a permit holds until that permit is freed, also when others are granted and freed', async () => {
    const holder = await Holder.acquire(suite);
    const [first, second] = [await holder.grant(), await holder.grant()];
    const run = (permit: Permit) => holder.transactions.run(source(), () => undefined, permit.fence);
    await run(first);
    await run(second);
    await first.free();
    await rejectsWith('LEASE_LOST', run(first));
    await run(second);
    await second.free();
    await rejectsWith('LEASE_LOST', run(second));
  });

  it('F1 a fence of a permit is LEASE_LOST with another token, semaphore or id', async () => {
    const holder = await Holder.acquire(suite);
    const permit = await holder.grant();
    for (const other of [{ token: permit.row.token + 1n }, { semaphore: newName() }, { id: randomUUID() }]) {
      const last = (tx: unknown) => holder.transactions.fencePermit(tx, { ...permit.row, ...other });
      await rejectsWith(
        'LEASE_LOST',
        holder.transactions.run(source(), () => undefined, last),
      );
    }
  });

  it('append adds the row after all rows of its key, and a later row follows it', async () => {
    const holder = await Holder.acquire(suite);
    const row = rowOf(newName());
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) {
      const [before, added] = [rowOf(row.key), rowOf(row.key)];
      ids.push(before.id, added.id);
      await holder.client.log.append([before], holder.row);
      await holder.append(source(), added);
      assert.deepEqual({ ...(await holder.client.log.latest(row.key)), timestamp: 0n }, { ...added, timestamp: 0n });
    }
    const entries = await holder.client.log.history(row.key, { limit: 9, order: 'oldest-first' });
    assert.deepEqual(
      entries.map(({ id }) => id),
      ids,
    );
    assert.equal(new Set(entries.map(({ timestamp }) => timestamp)).size, ids.length);
  });

  it('append is a CONFLICT when the row is there, also with the same value', async () => {
    const holder = await Holder.acquire(suite);
    const row = rowOf(newName());
    await holder.append(source(), row);
    await rejectsWith('CONFLICT', holder.append(source(), row));
    await rejectsWith('CONFLICT', holder.append(source(), { ...row, value: 'another' }));
    assert.equal((await holder.client.log.latest(row.key))?.value, row.value);
  });

  it('append is LEASE_LOST after a successor acquired the lease, and adds nothing', async () => {
    const holder = await Holder.acquire(suite);
    const row = rowOf(newName());
    await holder.release();
    await holder.succeed();
    await rejectsWith('LEASE_LOST', holder.append(source(), row));
    assert.equal(await holder.client.log.latest(row.key), undefined);
  });

  it('append refuses a text that not every database can store', async () => {
    const holder = await Holder.acquire(suite);
    for (const text of ['a\0b', 'a\ud800b']) {
      for (const wrong of [{ key: text }, { id: text }, { value: text }, { leader: text }]) {
        await rejectsWith('INVALID_ARGUMENT', holder.append(source(), { ...rowOf(newName()), ...wrong }));
      }
    }
  });
}

/** What a driver does that fences transactions in its own database. */
function commitTests(
  suite: Suite,
  { source, begin, outside }: ConformanceApplication,
  table: NonNullable<ConformanceApplication['table']>,
): void {
  const { it } = suite.runner;

  it('run commits the work of a holder, and nothing of a holder that was replaced', async () => {
    const holder = await Holder.acquire(suite);
    const [held, stale] = [randomUUID(), randomUUID()];
    const run = (id: string) => holder.transactions.run(source(), (tx) => table.insert(tx, id), holder.fence);
    await run(held);
    await holder.release();
    await holder.succeed();
    await rejectsWith('LEASE_LOST', run(stale));
    assert.deepEqual([await table.has(held), await table.has(stale)], [true, false]);
  });

  it('run commits nothing of work that fails', async () => {
    const holder = await Holder.acquire(suite);
    const id = randomUUID();
    const error = new Error('of the work');
    const fail = () => {
      throw error;
    };
    const work = (tx: unknown) => after(table.insert(tx, id), fail);
    await assert.rejects(holder.transactions.run(source(), work, holder.fence), (thrown) => thrown === error);
    assert.equal(await table.has(id), false);
  });

  it('run refuses what is no data source', async () => {
    const { transactions } = await Holder.acquire(suite);
    for (const wrong of [undefined, {}, 'postgres://']) {
      await rejectsWith(
        'INVALID_ARGUMENT',
        transactions.run(wrong, () => assert.fail('there is no transaction')),
      );
    }
  });

  it('append and the work commit together, or neither', async () => {
    const holder = await Holder.acquire(suite);
    const [row, id, again] = [rowOf(newName()), randomUUID(), randomUUID()];
    await holder.append(source(), row, (tx) => table.insert(tx, id));
    assert.deepEqual([await table.has(id), (await holder.client.log.latest(row.key))?.id], [true, row.id]);
    await rejectsWith(
      'CONFLICT',
      holder.append(source(), row, (tx) => table.insert(tx, again)),
    );
    assert.equal(await table.has(again), false);

    const undone = rowOf(newName());
    const last = (tx: unknown) =>
      after(holder.transactions.append(tx, undone, holder.row), () => {
        throw new Error('after the append');
      });
    await assert.rejects(
      holder.transactions.run(source(), () => undefined, last),
      /after the append/,
    );
    assert.equal(await holder.client.log.latest(undone.key), undefined);
  });

  it('F1 an acquisition that a fenced transaction races with sees its commit, or the commit fails', async () => {
    const clients = [await suite.client(), await suite.client()] as const;
    for (let race = 0; race < RACES; race++) {
      const holder = await Holder.acquire(suite, clients);
      await holder.release();
      const id = randomUUID();
      const run = settled(holder.transactions.run(source(), (tx) => table.insert(tx, id), holder.fence));
      await sleep(race % 5);
      await holder.succeed();
      const wasThere = await table.has(id);
      const failed = await run;
      assert.equal(await table.has(id), wasThere, 'the transaction was committed after the acquisition');
      if (wasThere) assert.equal(failed, undefined);
    }
  });

  it('F1 a write that frees a permit sees the commit of a racing transaction, or the commit fails', async () => {
    const clients = [await suite.client(), await suite.client()] as const;
    for (let race = 0; race < RACES; race++) {
      const holder = await Holder.acquire(suite, clients);
      const permit = await holder.grant();
      const id = randomUUID();
      const run = settled(holder.transactions.run(source(), (tx) => table.insert(tx, id), permit.fence));
      await sleep(race % 5);
      await permit.free();
      const wasThere = await table.has(id);
      await run;
      assert.equal(await table.has(id), wasThere, 'the transaction was committed after its permit was freed');
    }
  });

  if (outside !== undefined) {
    it('fence, fencePermit and append refuse an object that is no open transaction, and change nothing', async () => {
      const holder = await Holder.acquire(suite);
      const permit = await holder.grant();
      const row = rowOf(newName());
      for (const tx of [...outside(), undefined, {}, 'BEGIN']) {
        await rejectsWith(
          'INVALID_ARGUMENT',
          attempt(() => holder.fence(tx)),
        );
        await rejectsWith(
          'INVALID_ARGUMENT',
          attempt(() => permit.fence(tx)),
        );
        await rejectsWith(
          'INVALID_ARGUMENT',
          attempt(() => holder.transactions.append(tx, row, holder.row)),
        );
      }
      assert.equal(await holder.client.log.latest(row.key), undefined);
    });
  }

  if (begin === undefined) return;

  async function commitsNothing(code: 'LEASE_LOST' | 'CONFLICT', last: LastInTransaction): Promise<void> {
    const id = randomUUID();
    let isRefused = false;
    const begun = begin?.(async (tx) => {
      await table.insert(tx, id);
      await rejectsWith(
        code,
        attempt(() => last(tx)),
      );
      isRefused = true;
    });
    await settled(begun ?? Promise.resolve());
    assert.deepEqual([isRefused, await table.has(id)], [true, false]);
  }

  it('commits a transaction that the application began and fenced', async () => {
    const holder = await Holder.acquire(suite);
    const [permit, row, id] = [await holder.grant(), rowOf(newName()), randomUUID()];
    await begin(async (tx) => {
      await table.insert(tx, id);
      await holder.fence(tx);
      await permit.fence(tx);
      await holder.transactions.append(tx, row, holder.row);
    });
    assert.deepEqual([await table.has(id), (await holder.client.log.latest(row.key))?.id], [true, row.id]);
  });

  it('commits nothing after a failed fence or append, also if the application swallows the error', async () => {
    const holder = await Holder.acquire(suite);
    const permit = await holder.grant();
    const row = rowOf(newName());
    await holder.append(source(), row);
    await permit.free();
    await commitsNothing('CONFLICT', (tx) => holder.transactions.append(tx, row, holder.row));
    await commitsNothing('LEASE_LOST', permit.fence);
    await holder.release();
    await holder.succeed();
    await commitsNothing('LEASE_LOST', holder.fence);
    await commitsNothing('LEASE_LOST', (tx) => holder.transactions.append(tx, rowOf(newName()), holder.row));
  });

  it('F1 an acquisition does not commit between a fence and the commit of its transaction', async () => {
    const holder = await Holder.acquire(suite);
    await holder.release();
    const id = randomUUID();
    let acquisition: Promise<unknown> = Promise.resolve();
    let isAcquired = false;
    let wasEarly = false;
    const begun = begin(async (tx) => {
      await table.insert(tx, id);
      await holder.fence(tx);
      acquisition = later(holder.succeed(), () => {
        isAcquired = true;
      });
      await Promise.race([acquisition, sleep(MEANWHILE_MS)]);
      wasEarly = isAcquired;
    });
    await settled(begun);
    // A database that checks its reads at the commit lets the acquisition pass, and refuses the commit.
    assert.equal(await table.has(id), !wasEarly);
    await acquisition;
  });

  it('a renewal between a fence and the commit succeeds, and does not make the commit fail', async () => {
    const holder = await Holder.acquire(suite);
    const id = randomUUID();
    let renewal: Promise<unknown> = Promise.resolve();
    await begin(async (tx) => {
      await table.insert(tx, id);
      await holder.fence(tx);
      renewal = holder.client.lease.renew({ ...holder.claim, token: holder.row.token });
      await Promise.race([renewal, sleep(MEANWHILE_MS)]);
    });
    assert.deepEqual(await renewal, { renewed: true });
    assert.equal(await table.has(id), true);
  });
}

/** A member that holds a lease, and one that succeeds it. */
class Holder {
  readonly transactions: UserTransactions;
  readonly row: Fence;
  readonly #semaphore = newName();
  #permits: { readonly follows: bigint } = { follows: 0n };

  private constructor(
    readonly client: Backend,
    private readonly successor: Backend,
    readonly claim: LeaseClaim,
    token: bigint,
  ) {
    assert.ok(client.transactions, 'the driver has no `transactions`');
    this.transactions = client.transactions;
    this.row = { lease: claim.name, token };
  }

  /** @param clients of the holder and of its successor. Default: new ones. */
  static async acquire(suite: Suite, clients?: readonly [Backend, Backend]): Promise<Holder> {
    const [client, successor] = clients ?? [await suite.client(), await suite.client()];
    const claim = claimOf(newName());
    return new Holder(client, successor, claim, tokenOf(await client.lease.acquire(claim)));
  }

  readonly fence = (tx: unknown) => this.transactions.fence(tx, this.row);

  append(source: unknown, row: ReturnType<typeof rowOf>, work: (tx: unknown) => unknown = () => undefined) {
    return this.transactions.run(source, work, (tx) => this.transactions.append(tx, row, this.row));
  }

  async release(): Promise<void> {
    await this.client.lease.release({ ...this.claim, token: this.row.token });
  }

  /** Another member acquires the released lease, as soon as the driver lets it. */
  async succeed(): Promise<void> {
    const claim = claimOf(this.claim.name);
    const token = await repeated(async () => {
      const result = await this.successor.lease.acquire(claim);
      return result.acquired ? result.token : undefined;
    });
    assert.ok(token > this.row.token);
  }

  async grant(): Promise<Permit> {
    const id = randomUUID();
    const token = await this.#write({ id, permitMs: 60_000 });
    return new Permit(this.transactions, { semaphore: this.#semaphore, id, token }, async () => {
      await this.#write({ id });
    });
  }

  /** Writes the row of the semaphore until the write has taken effect. */
  async #write(permit: { readonly id: string; readonly permitMs?: number }): Promise<bigint> {
    const value = randomUUID();
    const { follows } = this.#permits;
    const write = writeOf({ name: this.#semaphore, follows, value, permits: [permit], leader: newAddress() });
    const timestamp = await repeated(async () => {
      const row = await this.client.permits.read(this.#semaphore);
      return row?.value === value ? row.timestamp : timestampOf(await this.client.permits.write(write, this.row));
    });
    this.#permits = { follows: timestamp };
    return timestamp;
  }
}

class Permit {
  constructor(
    private readonly transactions: UserTransactions,
    readonly row: PermitFence,
    readonly free: () => Promise<void>,
  ) {}

  readonly fence = (tx: unknown) => this.transactions.fencePermit(tx, this.row);
}

/** Repeats a call until it returns a value. BACKEND_UNAVAILABLE is a call that an open transaction held up. */
async function repeated<Value>(call: () => Promise<Value | undefined>): Promise<Value> {
  for (const end = performance.now() + 30_000; ;) {
    try {
      const value = await call();
      if (value !== undefined) return value;
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'BACKEND_UNAVAILABLE') throw error;
    }
    assert.ok(performance.now() < end, 'the transaction should have ended');
    await sleep(5);
  }
}

/** The error of a call, as it does not matter when it comes. */
async function settled(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return error;
  }
}

function notReached(): never {
  assert.fail('the work has failed, so nothing follows it');
}

/** At once when the value is no promise, because a synchronous library awaits none. */
function after<Result>(value: unknown, next: () => Result): Result | Promise<Result> {
  return value instanceof Promise ? later(value, next) : next();
}

async function later<Result>(value: Promise<unknown>, next: () => Result): Promise<Result> {
  await value;
  return next();
}

/** A fence that throws at once rejects, as `Lock.fence` does. */
async function attempt(fence: () => void | Promise<void>): Promise<void> {
  return fence();
}
