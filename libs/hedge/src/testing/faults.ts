import type { Backend, BackendFactory } from '../database/backend.js';
import type { LeaseQuery, LeaseTable } from '../database/lease-table.js';
import type { Fence, LogTable, LogTrim, TrimmableQuery } from '../database/log-table.js';
import type { PermitTable } from '../database/permit-table.js';
import type { UserTransactions } from '../database/user-transactions.js';
import { systemClock, type Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';

/** A method of a Backend, as `lease.renew`. A fault of `log.latest` is also one of `log.latestOf`. */
export type BackendCall =
  | 'open'
  | `lease.${'read' | 'list' | 'acquire' | 'renew' | 'renewAll' | 'release'}`
  | `log.${'append' | 'appendIf' | 'overwrite' | 'latest' | 'history' | 'trim' | 'trimmable' | 'keys' | 'changes' | 'lastTimestamp'}`
  | `permits.${'read' | 'write'}`
  | `transactions.${'fence' | 'fencePermit' | 'append' | 'run'}`;

export interface BackendFault {
  /** Delay before the effect, in milliseconds. */
  readonly delayMs?: number;
  /** Delay after the effect, in milliseconds: the answer is late, the effect is not. */
  readonly answerDelayMs?: number;
  /**
   * `before-effect`: BACKEND_UNAVAILABLE, without an effect. `after-effect`: the effect happens, and the call fails as
   * the contract says for an unknown outcome: OUTCOME_UNKNOWN from `log.overwrite`, otherwise BACKEND_UNAVAILABLE.
   */
  readonly fails?: 'before-effect' | 'after-effect';
}

/**
 * The faults of backends that `faulty` wraps. A test can change them while the backends are in use.
 *
 * @example
 * const faults = new BackendFaults();
 * const backend = faulty(memory({ database }), faults);
 * faults.once('lease.renew', { fails: 'after-effect' }); // the next renewal takes effect, but fails for its caller
 * faults.outage = true; // the database is unreachable
 */
export class BackendFaults {
  /** While true, every call fails before its effect. */
  outage = false;
  readonly #next = new Map<BackendCall, BackendFault[]>();
  #decide: (call: BackendCall) => BackendFault | undefined = () => undefined;

  /** Adds a fault for the next such call. Several faults form a queue. */
  once(call: BackendCall, fault: BackendFault): this {
    const queue = this.#next.get(call) ?? [];
    this.#next.set(call, [...queue, fault]);
    return this;
  }

  /** Plans the faults of all calls without a fault of their own, as a seeded random plan does. */
  each(decide: (call: BackendCall) => BackendFault | undefined): this {
    this.#decide = decide;
    return this;
  }

  /** The fault of a call that starts now. */
  take(call: BackendCall): BackendFault {
    if (this.outage) return { fails: 'before-effect' };
    return this.#next.get(call)?.shift() ?? this.#decide(call) ?? {};
  }
}

/**
 * The same backend with faults, for tests of an application whose database is slow or unreachable.
 *
 * @param clock measures the delays.
 */
export function faulty(factory: BackendFactory, faults: BackendFaults, clock: Clock = systemClock): BackendFactory {
  const run: Run = async (call, effect) => {
    const { delayMs = 0, answerDelayMs = 0, fails } = faults.take(call);
    await pass(clock, delayMs);
    if (fails === 'before-effect') throw unavailable(call);
    const result = await effect();
    await pass(clock, answerDelayMs);
    if (fails === 'after-effect') throw answerLost(call);
    return result;
  };
  return { create: (context) => new FaultyBackend(factory.create(context), run) };
}

type Run = <T>(call: BackendCall, effect: () => Promise<T>) => Promise<T>;

class FaultyBackend implements Backend {
  readonly name: string;
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  readonly transactions: UserTransactions | undefined;

  constructor(
    private readonly backend: Backend,
    private readonly run: Run,
  ) {
    const { lease, log, permits, transactions } = backend;
    const latestOf = log.latestOf?.bind(log);
    const trim = log.trim?.bind(log);
    const trimmable = log.trimmable?.bind(log);
    const list = lease.list?.bind(lease);
    this.name = backend.name;
    this.lease = {
      observes: lease.observes,
      ...(lease.observeRenewal && { observeRenewal: lease.observeRenewal.bind(lease) }),
      read: (name) => run('lease.read', () => lease.read(name)),
      acquire: (claim) => run('lease.acquire', () => lease.acquire(claim)),
      renew: (held) => run('lease.renew', () => lease.renew(held)),
      renewAll: (held) => run('lease.renewAll', () => lease.renewAll(held)),
      release: (held) => run('lease.release', () => lease.release(held)),
      ...(list && { list: (query: LeaseQuery) => run('lease.list', () => list(query)) }),
      heard: (name, token, leaseMs) => lease.heard?.(name, token, leaseMs),
    };
    this.log = {
      append: (rows, fence) => run('log.append', () => log.append(rows, fence)),
      appendIf: (rows, fence) => run('log.appendIf', () => log.appendIf(rows, fence)),
      overwrite: (row, fence) => run('log.overwrite', () => log.overwrite(row, fence)),
      latest: (key) => run('log.latest', () => log.latest(key)),
      ...(latestOf && { latestOf: (keys: readonly string[]) => run('log.latest', () => latestOf(keys)) }),
      history: (key, query) => run('log.history', () => log.history(key, query)),
      ...(trim && { trim: (query: LogTrim, fence?: Fence) => run('log.trim', () => trim(query, fence)) }),
      ...(trimmable && { trimmable: (query: TrimmableQuery) => run('log.trimmable', () => trimmable(query)) }),
      keys: (query) => run('log.keys', () => log.keys(query)),
      changes: (query) => run('log.changes', () => log.changes(query)),
      lastTimestamp: (prefix) => run('log.lastTimestamp', () => log.lastTimestamp(prefix)),
    };
    this.permits = {
      read: (name) => run('permits.read', () => permits.read(name)),
      write: (write, fence) => run('permits.write', () => permits.write(write, fence)),
      unseenForMs: (permitMs) => permits.unseenForMs?.(permitMs) ?? 0,
    };
    this.transactions = transactions && {
      fence: (tx, fence) => run('transactions.fence', async () => transactions.fence(tx, fence)),
      fencePermit: (tx, permit) => run('transactions.fencePermit', async () => transactions.fencePermit(tx, permit)),
      append: (tx, row, fence) => run('transactions.append', async () => transactions.append(tx, row, fence)),
      run: (source, work, last) => run('transactions.run', () => transactions.run(source, work, last)),
    };
  }

  open(): Promise<void> {
    return this.run('open', () => this.backend.open());
  }

  close(): Promise<void> {
    return this.backend.close();
  }
}

function pass(clock: Clock, ms: number): Promise<void> | undefined {
  return ms > 0 ? new Promise((resolve) => void clock.after(ms, resolve)) : undefined;
}

function unavailable(call: BackendCall): HedgeError {
  return new HedgeError('BACKEND_UNAVAILABLE', `Planned fault: ${call} failed before it did anything.`);
}

function answerLost(call: BackendCall): HedgeError {
  const code = call === 'log.overwrite' ? 'OUTCOME_UNKNOWN' : 'BACKEND_UNAVAILABLE';
  return new HedgeError(code, `Planned fault: ${call} was done and its answer lost.`);
}
