import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendFactory } from '../../database/backend.js';
import type { AcquireResult, LeaseClaim } from '../../database/lease-table.js';
import type { LogAppend } from '../../database/log-table.js';
import { HedgeError, type HedgeErrorCode } from '../../common/errors.js';
import { newIncarnation, type MemberId } from '../../common/identity.js';
import type { ConformanceApplication } from './transactions.js';

/** The functions of the test runner that the suite calls. Those of Jest and Vitest fit. */
export interface TestRunner {
  describe(name: string, define: () => void): void;
  it(name: string, run: () => Promise<void>): void;
  beforeAll(run: () => Promise<void>): void;
  afterEach(run: () => Promise<void>): void;
  afterAll(run: () => Promise<void>): void;
}

export interface BackendConformance {
  /** Name of the driver, for the titles. */
  readonly name: string;
  /**
   * Returns a factory for one database. The suite calls it once. The database may contain other data, because the suite
   * uses new names.
   */
  createFactory(): BackendFactory | Promise<BackendFactory>;
  /**
   * Sets the clock of the database back by an hour, or simulates that. Without it the suite skips the tests of that.
   */
  setClockBack?(): void | Promise<void>;
  /** For a driver on a virtual clock: its time in milliseconds, and a function that advances it. Default: real time. */
  readonly time?: { now(): number; pass(ms: number): Promise<void> };
  /** For a driver with `transactions`: libraries of applications on the same database, one for each kind of transaction. */
  readonly applications?: readonly ConformanceApplication[];
  /** Frees the resources that `createFactory` acquired. */
  cleanUp?(): void | Promise<void>;
  /** Default: the globals of Jest. */
  readonly runner?: TestRunner;
}

const realTime = { now: () => performance.now(), pass: (ms: number) => sleep(ms) };

/** The fixtures of every test of the suite. */
export class Suite {
  readonly time: { now(): number; pass(ms: number): Promise<void> };
  #factory: BackendFactory | undefined;
  readonly #clients: Backend[] = [];

  constructor(
    readonly conformance: BackendConformance,
    readonly runner: TestRunner,
  ) {
    this.time = conformance.time ?? realTime;
    runner.beforeAll(async () => {
      this.#factory = await conformance.createFactory();
    });
    runner.afterEach(async () => {
      for (const client of this.#clients.splice(0)) await client.close();
    });
    runner.afterAll(async () => {
      await conformance.cleanUp?.();
    });
  }

  /** A client that the database sees as one more process. It is closed after the test. */
  async client(): Promise<Backend> {
    assert.ok(this.#factory, 'clients can be created only inside tests');
    const client = this.#factory.create({ timeoutMs: 10_000 });
    this.#clients.push(client);
    await client.open();
    return client;
  }

  clients(count: number): Promise<Backend[]> {
    return Promise.all(Array.from({ length: count }, () => this.client()));
  }
}

/** A lease row, key or prefix that no other test uses. */
export function newName(): string {
  return `conformance/${randomUUID()}`;
}

export function member(port = 8080): MemberId {
  return { address: `127.0.0.1:${port}`, incarnation: newIncarnation() };
}

export function claimOf(name: string, leaseMs = 60_000, holder = member()): LeaseClaim {
  return { name, holder, leaseMs };
}

export function rowOf(key: string, value = 'value', id: string = randomUUID()): LogAppend {
  return { key, id, value, leader: '127.0.0.1:8080' };
}

export function tokenOf(result: AcquireResult): bigint {
  assert.ok(result.acquired, 'the lease should have been acquired');
  return result.token;
}

/** Fails unless `call` rejects with a HedgeError of that code. */
export async function rejectsWith(code: HedgeErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof HedgeError, `not a HedgeError: ${String(error)}`);
    assert.equal(error.code, code);
    return true;
  });
}
