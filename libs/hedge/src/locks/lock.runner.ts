import { abortInFreshContext } from '../common/async/async-context.js';
import type { LeaseRecord, LeaseTable } from '../database/lease-table.js';
import { lockName } from '../database/row-names.js';
import type { Clock, Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import type { DatabaseCall } from '../lease/lease-contender.messages.js';
import { LeaseCalls, type CallInput } from '../lease/lease-calls.js';
import { LossCause } from '../lease/loss-cause.js';
import { holdsLease, type Term } from '../lease/term.js';
import { OutageLogger } from '../lease/outage-logger.js';
import { ConcurrencyLimiter } from './concurrency-limiter.js';
import { HeldLock, type LockWaiter } from './lock.js';
import { LockStateMachine } from './lock.core.js';
import { lockLost, lockRefused, lockUnknown } from './lock-errors.js';
import type { LockEffect, LockInput } from './lock.messages.js';
import { LockRenewals } from './lock-renewals.js';
import { guardedController } from '../common/async/guarded-signal.js';

export interface LockManagerOptions {
  readonly leases: LeaseTable;
  /** This process, as lock rows name it. */
  readonly holder: () => MemberId;
  /** Tells the other members that a lock was given back. */
  readonly announce: (released: { readonly name: string; readonly token: bigint }) => void;
  readonly clock: Clock;
  readonly group: string;
  readonly timing: Timing;
  readonly logger: { log(message: string): void; warn(message: string): void };
  /** For jitter. */
  readonly random?: () => number;
}

/** Calls under way at once, renewals aside. SQLite does them one by one, in a fraction of a call's time limit. */
const MOST_CALLS = 32;

/** What this process has to do with one name. */
interface Named {
  readonly name: string;
  readonly contest: LockStateMachine;
  readonly cause: LossCause;
  readonly calls: LeaseCalls;
  held: { readonly token: bigint; readonly scope: AbortController } | undefined;
  readonly givingBack: Map<bigint, () => void>;
}

/**
 * Performs what the `LockStateMachine` of each name decides, on the lease table and on one timer, and renews all locks
 * of this process together.
 *
 * On losing a lock: `isValid()` is false, then its signal aborts.
 */
export class LockManager {
  readonly #options: LockManagerOptions;
  readonly #troubles: OutageLogger;
  readonly #renewals: LockRenewals;
  readonly #lanes = new ConcurrencyLimiter(MOST_CALLS);
  readonly #names = new Map<string, Named>();
  readonly #waiters = new Map<number, { readonly named: Named; readonly waiter: LockWaiter }>();
  #lastWaiter = 0;
  readonly #inputs: { readonly named: Named; readonly input: LockInput }[] = [];
  #inTurn = false;
  /** One for each turn, so that what failed together is tried again together. */
  #jitter = 0;
  #wake: { readonly at: number; readonly cancel: () => void } | undefined;
  #refusing = false;
  #closing: Promise<void> | undefined;
  #whenAtRest: (() => void) | undefined;
  #closed = false;

  constructor(options: LockManagerOptions) {
    const { logger, clock, leases, timing } = options;
    this.#options = options;
    this.#troubles = new OutageLogger({
      logger,
      begun: 'Locks cannot be taken, renewed or given back, retrying',
      over: 'Locks can be taken again',
    });
    const { backendTimeoutMs } = timing;
    const troubles = this.#troubles;
    this.#renewals = new LockRenewals({ leases, clock, backendTimeoutMs, troubles }, (run) => this.#turn(run));
  }

  /**
   * Wants a lock, behind whoever of this process wanted it before.
   * @param once now or not at all
   * @returns gives up; nobody is told then.
   * @throws HedgeError SHUTTING_DOWN
   */
  want(name: string, once: boolean, waiter: LockWaiter): () => void {
    if (this.#refusing) throw lockRefused(name);
    this.#lastWaiter += 1;
    const id = this.#lastWaiter;
    const named = this.#named(name);
    this.#waiters.set(id, { named, waiter });
    this.#step(named, { type: 'wait', waiter: id, once });
    return () => {
      if (this.#settle(id) !== undefined) this.#step(named, { type: 'give-up', waiter: id });
    };
  }

  /**
   * The lease of a lock, as of now.
   * @throws HedgeError BACKEND_UNAVAILABLE
   */
  read(name: string): Promise<LeaseRecord> {
    return this.#callsOf(name).read();
  }

  /** Who held the lock when last looked for somebody that waits, and whether the database answers. */
  outlook(name: string): { readonly holder: MemberId | undefined; readonly failing: boolean } {
    const contest = this.#names.get(name)?.contest;
    const holder = contest?.term === undefined ? contest?.holder?.member : this.#options.holder();
    return { holder, failing: contest?.failing ?? false };
  }

  /** To call when another member says that it gave a lock back. */
  releasedElsewhere(name: string, token: bigint): void {
    const named = this.#names.get(name);
    if (named !== undefined) this.#step(named, { type: 'released-elsewhere', token });
  }

  /** Lets nobody take a lock any more; those who wait are told. What is held stays, and is renewed. Idempotent. */
  refuse(): void {
    if (this.#refusing) return;
    this.#refusing = true;
    this.#turn(() => {
      for (const [id, { named }] of this.#waiters) {
        this.#settle(id)?.failed(lockRefused(named.name));
        this.#inputs.push({ named, input: { type: 'give-up', waiter: id } });
      }
    });
  }

  /**
   * Aborts the signals of what is held and gives it back, all at once; what the database does not confirm in
   * `backendTimeoutMs` is left to run out. Idempotent; never rejects.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, timing } = this.#options;
    this.refuse();
    this.#turn(() => {
      for (const named of this.#names.values()) {
        if (named.held === undefined) continue;
        const { token, scope } = named.held;
        void this.#giveBack(named, token);
        scope.abort(lockRefused(named.name));
      }
    });
    await new Promise<void>((resolve) => {
      const cancel = clock.after(timing.backendTimeoutMs, resolve, true);
      this.#whenAtRest = () => (cancel(), resolve());
      this.#checkAtRest();
    });
    this.#closed = true;
    this.#troubles.close();
    this.#wake?.cancel();
    for (const { givingBack } of this.#names.values()) for (const done of givingBack.values()) done();
    this.#names.clear();
  }

  /** Also an acquisition that nobody wants any more must end, or the lock would stay taken for a whole lease. */
  #checkAtRest(): void {
    if ([...this.#names.values()].every(({ contest }) => contest.isAtRest)) this.#whenAtRest?.();
  }

  #named(name: string): Named {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const { leases, timing, holder } = this.#options;
    const settings = { self: holder(), timing, observes: leases.observes, random: () => this.#jitter };
    const contest = new LockStateMachine(settings);
    const named: Named = {
      name,
      contest,
      cause: new LossCause(timing),
      calls: this.#callsOf(name),
      held: undefined,
      givingBack: new Map(),
    };
    this.#names.set(name, named);
    return named;
  }

  #callsOf(name: string): LeaseCalls {
    const { leases, clock, timing, group } = this.#options;
    return new LeaseCalls({ name: lockName(group, name), leases, clock, timing, troubles: this.#troubles });
  }

  #isValid(named: Named, token: bigint): boolean {
    const { held } = named;
    const { term } = named.contest;
    if (this.#closed || held?.token !== token || term?.token !== token) return false;
    if (holdsLease(term, this.#options.timing, this.#options.clock.now())) return true;
    // Makes it final, so that a wall clock set back cannot make it true again.
    this.#step(named, { type: 'tick' });
    return false;
  }

  #giveBack(named: Named, token: bigint): Promise<void> {
    if (named.held?.token !== token || this.#closed) return Promise.resolve();
    named.held = undefined;
    return new Promise((resolve) => {
      named.givingBack.set(token, resolve);
      this.#step(named, { type: 'release', token });
    });
  }

  // Turns

  #step(named: Named, input: LockInput): void {
    this.#turn(() => this.#inputs.push({ named, input }));
  }

  /** One input at a time, also when an effect causes the next; the renewals of all leave together at the end. */
  #turn(collect: () => void): void {
    if (this.#closed) return;
    if (this.#inTurn) return collect();
    this.#inTurn = true;
    this.#jitter = (this.#options.random ?? Math.random)();
    try {
      collect();
      const touched = new Set<Named>();
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        const { named, input } = next;
        touched.add(named);
        this.#handle(named, input);
      }
      this.#renewals.flush();
      this.#forgetIdle(touched);
    } finally {
      this.#inTurn = false;
    }
    this.#setAlarm();
    this.#checkAtRest();
  }

  #handle(named: Named, input: LockInput): void {
    const { contest, cause } = named;
    const now = this.#options.clock.now();
    cause.stepped(now);
    const before = contest.term;
    for (const effect of contest.step(input, now)) {
      if (effect.type === 'lost') this.#lost(named, effect, before, now);
      else this.#perform(named, effect);
    }
    cause.holds(contest.term);
    cause.wakesAfter((contest.wakeAt ?? Infinity) - now.mono, now);
  }

  #forgetIdle(touched: Iterable<Named>): void {
    const now = this.#options.clock.now();
    for (const named of touched) {
      // A late answer may be for one that was forgotten, and whose name is in use again.
      if (named.contest.isIdle(now) && this.#names.get(named.name) === named) this.#names.delete(named.name);
    }
  }

  #setAlarm(): void {
    let at = Infinity;
    for (const { contest } of this.#names.values()) at = Math.min(at, contest.wakeAt ?? Infinity);
    if (at === (this.#wake?.at ?? Infinity)) return;
    this.#wake?.cancel();
    const { clock } = this.#options;
    const cancel = at === Infinity ? undefined : clock.after(Math.max(0, at - clock.now().mono), () => this.#ring());
    this.#wake = cancel && { at, cancel };
  }

  #ring(): void {
    this.#wake = undefined;
    const { mono } = this.#options.clock.now();
    this.#turn(() => {
      for (const named of this.#names.values()) {
        if ((named.contest.wakeAt ?? Infinity) <= mono) this.#inputs.push({ named, input: { type: 'tick' } });
      }
    });
  }

  #perform(named: Named, effect: Exclude<LockEffect, { type: 'lost' }>): void {
    switch (effect.type) {
      case 'call':
        return this.#call(named, effect.round, effect.call);
      case 'granted':
        return this.#granted(named, effect.waiter, effect.token);
      case 'refused': {
        const waiter = this.#settle(effect.waiter);
        return effect.failed ? waiter?.failed(lockUnknown(named.name)) : waiter?.taken();
      }
      case 'announce-released':
        return this.#options.announce({ name: named.name, token: effect.token });
      case 'given-back':
        named.givingBack.get(effect.token)?.();
        named.givingBack.delete(effect.token);
        return;
    }
  }

  #call(named: Named, round: number, call: DatabaseCall): void {
    const answered = (answer: CallInput): void => this.#step(named, { type: 'answered', round, answer });
    const { holder, group, timing } = this.#options;
    const { attempt } = call;
    if (call.type !== 'renew') {
      const make = (waited: boolean): Promise<CallInput> => {
        if (waited) answered({ type: 'begun', attempt });
        return named.calls.make(call, holder());
      };
      return void this.#lanes.run(make).then(answered);
    }
    const { token } = call;
    const renewal = { name: lockName(group, named.name), holder: holder(), leaseMs: timing.leaseMs, token };
    this.#renewals.add(renewal, (result, failure) => {
      if (failure !== undefined && named.held?.token === token) named.cause.failed(failure);
      answered({ type: 'renewed', attempt, result });
    });
  }

  #granted(named: Named, id: number, token: bigint): void {
    const scope = guardedController();
    named.held = { token, scope };
    const lock = new HeldLock(named.name, token, {
      signal: scope.signal,
      isValid: () => this.#isValid(named, token),
      release: () => this.#giveBack(named, token),
    });
    this.#settle(id)?.granted(lock);
  }

  /** Whoever waits is told once. */
  #settle(id: number): LockWaiter | undefined {
    const waiter = this.#waiters.get(id)?.waiter;
    this.#waiters.delete(id);
    return waiter;
  }

  #lost(named: Named, { token, reason }: LockEffect & { type: 'lost' }, term: Term | undefined, now: Instant): void {
    const { held } = named;
    if (held?.token !== token) return;
    named.held = undefined;
    const error = lockLost(named.name, reason, named.cause.describe(reason, term, now));
    this.#options.logger.warn(error.message);
    abortInFreshContext(held.scope, error);
  }
}
