import { hostname } from 'node:os';
import { abortInFreshContext } from '../common/async/async-context.js';
import type { LeaseQuery, LeaseRecord, LeaseTable, ListedLease } from '../database/lease-table.js';
import { lockName } from '../database/row-names.js';
import { fencedTransactions } from '../database/fenced-transactions.js';
import type { UserTransactions } from '../database/user-transactions.js';
import type { Clock, Instant } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import type { Timing } from '../common/timing.js';
import type { DatabaseCall } from '../lease/lease-contender.messages.js';
import { LeaseCalls, type CallInput } from '../lease/lease-calls.js';
import { isExpiry, LossCause } from '../lease/loss-cause.js';
import { holdsLease, type Term } from '../lease/lease-contender.core.js';
import { OutageLogger } from '../lease/outage-logger.js';
import { renewalPhaseMs } from '../lease/polling-pace.js';
import type { TermRenewer } from '../lease/renewal/term-renewer.js';
import { ConcurrencyLimiter } from './concurrency-limiter.js';
import { HeldLock, type LockWaiter } from './lock.js';
import { LockStateMachine } from './lock.core.js';
import { lockLost, podStopping, lockUnknown } from './lock-errors.js';
import type { LockEffect, LockInput } from './lock.messages.js';
import type { LockQueueRunner } from './lock-queue.runner.js';
import { LockRenewals } from './lock-renewals.js';
import { guardedController } from '../common/async/guarded-signal.js';
import { type Metrics, NO_METRICS, type Reading } from '../telemetry/metrics.js';

export interface LockManagerOptions {
  readonly leases: LeaseTable;
  readonly transactions?: UserTransactions | undefined;
  /** The name of this process in lock rows. */
  readonly holder: () => MemberId;
  readonly queue: Pick<LockQueueRunner, 'wait' | 'leave' | 'released'>;
  readonly clock: Clock;
  readonly group: string;
  readonly timing: Timing;
  readonly logger: Pick<Logger, 'log' | 'warn'>;
  /** Renews the locks on another thread. Default: this process renews them by `leases`, on its event loop. */
  readonly renewer?: TermRenewer | undefined;
  /** Called each time a lease or permit expires because it was not renewed, with words for the log. */
  readonly onExpired?: ((what: string) => void) | undefined;
  /** For jitter. */
  readonly random?: () => number;
  readonly metrics?: Metrics | undefined;
}

interface Waiting {
  readonly entry: LockEntry;
  readonly waiter: LockWaiter;
  /** A monotonic time. */
  readonly since: number;
}

/** Concurrent calls, without renewals. SQLite runs them one by one, in a fraction of the deadline of a call. */
const MOST_CALLS = 32;

/** The state of one lock in this process. */
interface LockEntry {
  readonly name: string;
  readonly machine: LockStateMachine;
  readonly cause: LossCause;
  readonly calls: LeaseCalls;
  held: { readonly token: bigint; readonly scope: AbortController } | undefined;
  /** As the queue knows it. */
  waitsSince: number | undefined;
  readonly releasing: Map<bigint, () => void>;
}

/**
 * Runs a `LockStateMachine` for each lock: performs their effects on the lease table and on one timer, and renews all
 * locks of this process together.
 *
 * When a lock is lost, `isValid()` turns false, then its signal aborts.
 */
export class LockManager {
  readonly #options: LockManagerOptions;
  readonly #outages: OutageLogger;
  readonly #renewals: LockRenewals;
  readonly #limiter = new ConcurrencyLimiter(MOST_CALLS);
  readonly #entries = new Map<string, LockEntry>();
  readonly #waiters = new Map<number, Waiting>();
  #lastWaiter = 0;
  readonly #inputs: { readonly entry: LockEntry; readonly input: LockInput }[] = [];
  #inBatch = false;
  readonly #renewalPhaseMs: number;
  /** The jitter of the current batch, so that calls that failed together are retried together. */
  #jitter = 0;
  #wake: { readonly at: number; readonly cancel: () => void } | undefined;
  #draining = false;
  #closing: Promise<void> | undefined;
  #whenAtRest: (() => void) | undefined;
  #closed = false;

  readonly #metrics: Metrics;

  constructor(options: LockManagerOptions) {
    const { logger, clock, leases, timing, metrics = NO_METRICS, random = Math.random } = options;
    this.#options = options;
    this.#metrics = metrics;
    this.#renewalPhaseMs = renewalPhaseMs(timing.leaseMs, random);
    this.#outages = new OutageLogger({
      logger,
      begun: 'Locks cannot be acquired, renewed or released, retrying',
      over: 'Locks can be acquired again',
      what: 'database',
    });
    this.#renewals = new LockRenewals({ leases, clock, timing, outages: this.#outages, metrics }, (run) =>
      this.#batch(run),
    );
  }

  /**
   * Acquires a lock for a caller, after earlier callers of this process.
   * @param once the caller does not wait if the lock is not free
   * @returns a function that cancels the wait without a call to the waiter
   * @throws HedgeError SHUTTING_DOWN
   */
  acquire(name: string, once: boolean, waiter: LockWaiter): () => void {
    if (this.#draining) throw podStopping(name);
    this.#lastWaiter += 1;
    const id = this.#lastWaiter;
    const entry = this.#entry(name);
    this.#waiters.set(id, { entry, waiter, since: this.#options.clock.now().mono });
    this.#step(entry, { type: 'wait', waiter: id, once });
    return () => {
      if (this.#takeWaiter(id, 'cancelled') !== undefined) this.#step(entry, { type: 'cancel-wait', waiter: id });
    };
  }

  /**
   * Reads the lease of a lock.
   * @throws HedgeError BACKEND_UNAVAILABLE
   */
  read(name: string): Promise<LeaseRecord> {
    return this.#callsOf(name).read();
  }

  /**
   * The locks of the group that have a holder.
   * @throws HedgeError BACKEND_UNAVAILABLE; INVALID_ARGUMENT when the driver has no list
   */
  async list({ prefix, limit, after }: LeaseQuery): Promise<readonly ListedLease[]> {
    const { leases, group } = this.#options;
    if (leases.list === undefined) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        'The locks cannot be listed: the driver of this database has no LeaseTable.list. Ask for single locks by holder(name).',
      );
    }
    const rows = lockName(group, '');
    const found = await leases.list({
      prefix: rows + prefix,
      limit,
      ...(after !== undefined && { after: rows + after }),
    });
    return found.map((lease) => ({ ...lease, name: lease.name.slice(rows.length) }));
  }

  /** The last known holder, read while a caller waited, and whether the last call to the database failed. */
  status(name: string): { readonly holder: MemberId | undefined; readonly failing: boolean } {
    const machine = this.#entries.get(name)?.machine;
    const holder = machine?.term === undefined ? machine?.holder?.member : this.#options.holder();
    return { holder, failing: machine?.failing ?? false };
  }

  /** The held locks, for metrics. */
  get held(): Reading[] {
    return [...this.#entries.values()].flatMap(({ held, name }) =>
      held === undefined ? [] : [{ value: 1, labels: { lock: name } }],
    );
  }

  /** The waiting callers, for metrics. */
  get waiting(): Reading[] {
    return Array.from(this.#waiters.values(), ({ entry }) => ({ value: 1, labels: { lock: entry.name } }));
  }

  /** The locks that callers of this process hold, with their tokens, or wait for. */
  *locks(): Generator<{ readonly name: string; readonly token: bigint | undefined; readonly waiting: number }> {
    const waiting = new Map<LockEntry, number>();
    for (const { entry } of this.#waiters.values()) waiting.set(entry, (waiting.get(entry) ?? 0) + 1);
    for (const entry of this.#entries.values()) {
      const { name, held } = entry;
      if (held === undefined && !waiting.has(entry)) continue;
      yield { name, token: held?.token, waiting: waiting.get(entry) ?? 0 };
    }
  }

  /** As `LockQueueListener`. */
  releasedElsewhere(name: string, token: bigint, successor?: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    const { leases, group, timing, renewer } = this.#options;
    leases.heard?.(lockName(group, name), token, timing.leaseMs);
    renewer?.heard(lockName(group, name), token, timing.leaseMs);
    this.#step(entry, { type: 'released-elsewhere', token, successor });
  }

  /** As `LockQueueListener`. */
  queued(name: string, reads: boolean): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) this.#step(entry, { type: 'queued', reads });
  }

  /** Rejects new and waiting acquisitions. Held locks stay and are renewed. Idempotent. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#batch(() => {
      for (const [id, { entry }] of this.#waiters) {
        this.#takeWaiter(id, 'failed')?.failed(podStopping(entry.name));
        this.#inputs.push({ entry, input: { type: 'cancel-wait', waiter: id } });
      }
    });
  }

  /**
   * Aborts the signals of all held locks and releases them at once. A release that the database does not confirm within
   * `backendTimeoutMs` is abandoned, and that lock expires. Idempotent; never rejects.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, timing } = this.#options;
    this.drain();
    this.#batch(() => {
      for (const entry of this.#entries.values()) {
        if (entry.held === undefined) continue;
        const { token, scope } = entry.held;
        void this.#release(entry, token);
        scope.abort(podStopping(entry.name));
      }
    });
    await new Promise<void>((resolve) => {
      const cancel = clock.after(timing.backendTimeoutMs, resolve, true);
      this.#whenAtRest = () => (cancel(), resolve());
      this.#checkAtRest();
    });
    this.#closed = true;
    this.#outages.close();
    this.#wake?.cancel();
    for (const { releasing } of this.#entries.values()) for (const done of releasing.values()) done();
    this.#entries.clear();
  }

  /** Waits also for acquisitions without a waiter: a lock that nobody releases would be held for a whole lease. */
  #checkAtRest(): void {
    if ([...this.#entries.values()].every(({ machine }) => machine.isAtRest)) this.#whenAtRest?.();
  }

  #entry(name: string): LockEntry {
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    const { leases, timing, holder, renewer, group } = this.#options;
    const lease = lockName(group, name);
    const machine = new LockStateMachine({
      self: holder(),
      timing,
      observes: leases.observes,
      renewed: renewer && ((token) => renewer.renewed(lease, token)),
      random: () => this.#jitter,
      renewalPhaseMs: this.#renewalPhaseMs,
    });
    const entry: LockEntry = {
      name,
      machine,
      cause: new LossCause(timing),
      calls: this.#callsOf(name),
      held: undefined,
      waitsSince: undefined,
      releasing: new Map(),
    };
    this.#entries.set(name, entry);
    return entry;
  }

  #callsOf(name: string): LeaseCalls {
    const { leases, clock, timing, group } = this.#options;
    return new LeaseCalls({ name: lockName(group, name), leases, clock, timing, outages: this.#outages });
  }

  #isValid(entry: LockEntry, token: bigint): boolean {
    const { held } = entry;
    const { term } = entry.machine;
    if (this.#closed || held?.token !== token || term?.token !== token) return false;
    if (holdsLease(term, this.#options.timing, this.#options.clock.now())) return true;
    // Makes the loss final, so that neither a late renewal nor a wall clock that is set back can revive the term.
    this.#drop(entry, token);
    this.#step(entry, { type: 'lapsed', token });
    return false;
  }

  #release(entry: LockEntry, token: bigint): Promise<void> {
    if (entry.held?.token !== token || this.#closed) return Promise.resolve();
    entry.held = undefined;
    return new Promise((resolve) => {
      entry.releasing.set(token, resolve);
      this.#step(entry, { type: 'release', token });
    });
  }

  // Batches of inputs

  #step(entry: LockEntry, input: LockInput): void {
    this.#batch(() => this.#inputs.push({ entry, input }));
  }

  /** Handles one input at a time, also when an effect causes the next. All renewals are sent together at the end. */
  #batch(collect: () => void): void {
    if (this.#closed) return;
    if (this.#inBatch) return collect();
    this.#inBatch = true;
    this.#jitter = (this.#options.random ?? Math.random)();
    try {
      collect();
      const touched = new Set<LockEntry>();
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        const { entry, input } = next;
        touched.add(entry);
        this.#handle(entry, input);
      }
      this.#renewals.flush();
      this.#removeIdle(touched);
    } finally {
      this.#inBatch = false;
    }
    this.#scheduleWake();
    this.#checkAtRest();
  }

  #handle(entry: LockEntry, input: LockInput): void {
    const { machine, cause } = entry;
    const now = this.#options.clock.now();
    cause.stepped(now);
    const before = machine.term;
    for (const effect of machine.step(input, now)) {
      if (effect.type === 'lost') this.#lost(entry, effect, before, now);
      else this.#perform(entry, effect);
    }
    cause.holds(machine.term);
    cause.timerSet((machine.wakeAt ?? Infinity) - now.mono, now);
    this.#enqueue(entry);
  }

  #enqueue(entry: LockEntry): void {
    const { queue } = this.#options;
    const { name, machine } = entry;
    const { waitsSince } = machine;
    if (waitsSince === entry.waitsSince) return;
    entry.waitsSince = waitsSince;
    if (waitsSince === undefined) queue.leave(name);
    else queue.wait(name, waitsSince);
  }

  #removeIdle(touched: Iterable<LockEntry>): void {
    const now = this.#options.clock.now();
    for (const entry of touched) {
      // A late answer may belong to a removed entry whose name is in use again.
      if (entry.machine.isIdle(now) && this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name);
    }
  }

  #scheduleWake(): void {
    let at = Infinity;
    for (const { machine } of this.#entries.values()) at = Math.min(at, machine.wakeAt ?? Infinity);
    if (at === (this.#wake?.at ?? Infinity)) return;
    this.#wake?.cancel();
    const { clock } = this.#options;
    const cancel = at === Infinity ? undefined : clock.after(Math.max(0, at - clock.now().mono), () => this.#onWake());
    this.#wake = cancel && { at, cancel };
  }

  #onWake(): void {
    this.#wake = undefined;
    const { mono } = this.#options.clock.now();
    this.#batch(() => {
      for (const entry of this.#entries.values()) {
        if ((entry.machine.wakeAt ?? Infinity) <= mono) this.#inputs.push({ entry, input: { type: 'tick' } });
      }
    });
  }

  #perform(entry: LockEntry, effect: Exclude<LockEffect, { type: 'lost' }>): void {
    switch (effect.type) {
      case 'call':
        return this.#call(entry, effect.round, effect.call);
      case 'acquired':
        return this.#hold(entry, effect);
      case 'ended':
        return this.#drop(entry, effect.token);
      case 'granted':
        return this.#granted(entry, effect.waiter, effect.token);
      case 'refused': {
        const waiter = this.#takeWaiter(effect.waiter, effect.failed ? 'failed' : 'not_free');
        return effect.failed ? waiter?.failed(lockUnknown(entry.name)) : waiter?.notFree();
      }
      case 'announce-released':
        return this.#options.queue.released(entry.name, effect.token);
      case 'released':
        entry.releasing.get(effect.token)?.();
        entry.releasing.delete(effect.token);
        return;
    }
  }

  #call(entry: LockEntry, round: number, call: DatabaseCall): void {
    const answered = (answer: CallInput): void => this.#step(entry, { type: 'answered', round, answer });
    const { holder, group, timing } = this.#options;
    const { attempt } = call;
    if (call.type !== 'renew') {
      const make = (waited: boolean): Promise<CallInput> => {
        if (waited) answered({ type: 'begun', attempt });
        return entry.calls.perform(call, holder());
      };
      return void this.#limiter.run(make).then(answered);
    }
    const { token } = call;
    const renewal = {
      name: lockName(group, entry.name),
      holder: holder(),
      leaseMs: timing.leaseMs,
      token,
      renewals: BigInt(attempt),
    };
    const validSince = entry.machine.term?.validSince ?? this.#options.clock.now();
    this.#renewals.add({
      renewal,
      validSince,
      answer: (result, failure) => {
        if (failure !== undefined && entry.held?.token === token) entry.cause.failed(failure);
        answered({ type: 'renewed', attempt, result });
      },
    });
  }

  #hold(entry: LockEntry, term: Term): void {
    const { renewer, group, holder } = this.#options;
    renewer?.hold({
      name: lockName(group, entry.name),
      holder: holder(),
      term,
      batched: true,
      changed: () => {
        this.#outages.recovered('written');
        this.#step(entry, { type: 'tick' });
      },
      failed: (message) => {
        this.#outages.failed('written', message);
        entry.cause.failed(message);
      },
    });
  }

  #drop(entry: LockEntry, token: bigint): void {
    this.#options.renewer?.drop(lockName(this.#options.group, entry.name), token);
  }

  #granted(entry: LockEntry, id: number, token: bigint): void {
    const scope = guardedController();
    entry.held = { token, scope };
    const { group, transactions } = this.#options;
    const isValid = () => this.#isValid(entry, token);
    const lock = new HeldLock(entry.name, token, {
      signal: scope.signal,
      isValid,
      release: () => this.#release(entry, token),
      ...fencedTransactions({
        what: `Lock "${entry.name}"`,
        transactions,
        isHeld: isValid,
        fence: (used, tx) => used.fence(tx, { lease: lockName(group, entry.name), token }),
      }),
    });
    this.#takeWaiter(id, 'acquired')?.granted(lock);
  }

  /** Takes a waiter out, so that it is notified exactly once. */
  #takeWaiter(id: number, outcome: 'acquired' | 'not_free' | 'cancelled' | 'failed'): LockWaiter | undefined {
    const waiting = this.#waiters.get(id);
    if (waiting === undefined) return undefined;
    this.#waiters.delete(id);
    if (this.#metrics.listening) {
      const waitedMs = this.#options.clock.now().mono - waiting.since;
      this.#metrics.record('hedge.lock.wait.duration', waitedMs / 1_000, { outcome, lock: waiting.entry.name });
    }
    return waiting.waiter;
  }

  #lost(
    entry: LockEntry,
    { token, reason }: LockEffect & { type: 'lost' },
    term: Term | undefined,
    now: Instant,
  ): void {
    const { held } = entry;
    if (held?.token !== token) return;
    entry.held = undefined;
    this.#metrics.add('hedge.lock.losses', { reason, lock: entry.name });
    const error = lockLost(entry.name, reason, entry.cause.describe(reason, term, now));
    this.#options.logger.warn(error.message, { event: 'lock.lost', lock: entry.name, token, reason, code: error.code });
    if (isExpiry(reason)) this.#options.onExpired?.(`lock "${entry.name}"`);
    abortInFreshContext(held.scope, error);
  }
}

/** The name of a process in lock rows: its address; for a client, which has none, its host name and process id. */
export function lockHolder({ address, incarnation }: MemberId): MemberId {
  return { address: address === '' ? `${hostname()}-${process.pid}` : address, incarnation };
}
