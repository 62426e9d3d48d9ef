import { checkKeys } from '../common/validation/check-keys.js';
import { assertWork, runAndRelease, type TriedUse } from '../common/held.js';
import { withTokenInJson } from '../common/token-in-json.js';
import { onAbort } from '../common/async/on-abort.js';
import { MAX_TIMER_MS, type Clock } from '../common/clock.js';
import { atCaller, HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { MOST_LISTED_LEASES } from '../database/lease-table.js';
import { assertNotReserved } from '../database/row-names.js';
import { assertLength, assertText } from '../database/text.js';
import type { StartGate } from '../common/async/start-gate.js';
import { checkSignal, inWords } from '../messaging/call-options.js';
import type { Lock } from './lock.js';
import { lockHeld, lockUnknown } from './lock-errors.js';
import type { LockManager } from './lock.runner.js';
import { beginSpan } from '../telemetry/tracing.js';

export interface LockOptions {
  /**
   * How long to wait for a lock that is held, in milliseconds: 0 tries once, Infinity waits until the signal aborts.
   * Default: the module's `defaultTimeoutMs`, 10 s.
   */
  readonly timeoutMs?: number | undefined;
  /** Cancels the wait: the call rejects with the signal's reason. It has no effect once the lock is held. */
  readonly signal?: AbortSignal | undefined;
}

/** The holder of a lock, as stored in the database. `JSON.stringify` shows its token as digits. */
export interface LockHolder {
  readonly member: MemberId;
  readonly fencingToken: bigint;
  /**
   * Milliseconds until another pod can acquire the lock unless it is renewed. A live holder renews it. On a database
   * without a shared clock (sqlite) they count from the moment when this pod first saw the last renewal.
   */
  readonly expiresInMs: number;
}

export interface LockListOptions {
  /** Only names that begin with this text. Default: all. */
  readonly prefix?: string | undefined;
  /** At most this many locks: from 1 to 1,000. Default: 1,000. */
  readonly limit?: number | undefined;
  /** Only names that sort after this one: pass the last name of the previous page. */
  readonly after?: string | undefined;
}

/** A lock with its holder, as stored in the database. `JSON.stringify` shows its token as digits. */
export interface ListedLock {
  readonly name: string;
  readonly member: MemberId;
  readonly fencingToken: bigint;
  /** Milliseconds since the holder acquired or renewed the lock, by the clock of the database. */
  readonly renewedMsAgo: number;
  /** The holder has not renewed the lock for a whole lease, so it has probably died. */
  readonly expired: boolean;
}

/**
 * The maximum length of a lock name, in UTF-8 bytes. The name and the group form the key of a row, which Spanner limits
 * to 8 KB.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
const MAX_LOCK_NAME_BYTES = 4_000;

const LIST_OPTIONS = Object.keys({ prefix: 0, limit: 0, after: 0 } satisfies Record<keyof LockListOptions, 0>);
const LOCK_OPTIONS = Object.keys({ timeoutMs: 0, signal: 0 } satisfies Record<keyof LockOptions, 0>);

export interface LockServiceDeps {
  readonly gate: StartGate;
  readonly manager: LockManager;
  readonly clock: Clock;
  readonly defaultTimeoutMs: number;
}

/**
 * Named locks of the group: at most one holder of a name at a time, over all pods and within each.
 *
 * - A lock is a lease that is renewed while it is held. A holder that dies or stalls loses the lock when the lease
 *   expires; the next holder has a higher `fencingToken` (L1). `lock.isValid()` turns false before the database lets
 *   another pod acquire the lock (L2). A loss aborts `lock.signal` at once and is final (L3).
 * - Locks are not re-entrant: a holder that acquires its lock again waits for itself.
 * - Callers of one pod are served in order, and so are the pods that wait. A pod may pass the lock among its own callers, but
 *   lets others go first when they have held it for a whole lease. A pod that asks just after a release may come first.
 * - While the pod stops, acquisitions are rejected (SHUTTING_DOWN), and held locks stay until the app closes.
 *
 * @example
 * await locks.use('invoices/2026-01', { timeoutMs: 5_000 }, async ({ signal, fencingToken }) => {
 *   await writeInvoices(fencingToken, signal);
 * });
 */
export class LockService {
  constructor(private readonly deps: LockServiceDeps) {}

  /**
   * Acquires the lock, runs a function, and releases the lock whatever the outcome. If the lock is lost meanwhile,
   * `lock.signal` aborts, and the function decides what to do. The call settles as the function does.
   * @throws HedgeError as `acquire`; the error of the function.
   */
  use<Result>(name: string, work: (lock: Lock) => Result): Promise<Awaited<Result>>;
  use<Result>(name: string, options: LockOptions, work: (lock: Lock) => Result): Promise<Awaited<Result>>;
  async use<Result>(
    name: string,
    options: LockOptions | ((lock: Lock) => Result),
    work?: (lock: Lock) => Result,
  ): Promise<Awaited<Result>> {
    const [run, settings] = typeof options === 'function' ? [options, {}] : [work, options];
    assertLockName(name);
    assertWork(`lock "${name}"`, run, 'locks.use(name, options, async (lock) => …)');
    return await runAndRelease(await this.acquire(name, settings), run);
  }

  /**
   * As `use` if the lock is free now. Else the result is `{ ran: false }`, and the function is not called.
   * @throws HedgeError as `tryAcquire`; the error of the function.
   *
   * @example
   * const { ran } = await locks.tryUse('sweep', () => sweep());
   */
  async tryUse<Result>(name: string, work: (lock: Lock) => Result): Promise<TriedUse<Awaited<Result>>> {
    assertLockName(name);
    assertWork(`lock "${name}"`, work, 'locks.tryUse(name, async (lock) => …)');
    const lock = await this.tryAcquire(name);
    return lock === undefined ? { ran: false } : { ran: true, result: await runAndRelease(lock, work) };
  }

  /**
   * Acquires the lock, and waits for it if it is held. Release it, or use `await using`.
   * @throws HedgeError DEADLINE_EXCEEDED when the lock was not free in time, BACKEND_UNAVAILABLE when the database did
   *   not answer, SHUTTING_DOWN, INVALID_ARGUMENT; the signal's reason. In all these cases the lock is not held.
   */
  async acquire(name: string, options: LockOptions = {}): Promise<Lock> {
    assertLockName(name);
    checkKeys(`The options of lock "${name}"`, options, LOCK_OPTIONS);
    const { timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    assertWait(name, timeoutMs, signal);
    const wait = this.deps.gate.pass(`lock "${name}"`);
    if (wait !== undefined) await wait;
    signal?.throwIfAborted();
    const acquired = new Promise<Lock>((resolve, reject) => {
      let cancelWait: (() => void) | undefined;
      const fail = (error: unknown): void => {
        end();
        cancelWait?.();
        reject(error);
      };
      const aborted = (): void => fail(signal?.reason);
      const outOfTime = (): void => fail(this.#notFree(name, timeoutMs));
      // A longer wait has no deadline. Its timer only keeps the process alive.
      const expire = timeoutMs <= MAX_TIMER_MS ? outOfTime : () => undefined;
      const cancel = timeoutMs > 0 ? this.deps.clock.after(timeoutMs, expire, true) : () => undefined;
      const end = (): void => {
        cancel();
        stopListening?.();
      };
      const stopListening = signal && onAbort(signal, aborted);
      try {
        cancelWait = this.deps.manager.acquire(name, timeoutMs === 0, {
          granted: (lock) => (end(), resolve(lock)),
          notFree: outOfTime,
          failed: fail,
        });
      } catch (error) {
        fail(error);
      }
    });
    const span = beginSpan('hedge.lock.wait', { 'hedge.lock.name': name });
    try {
      const lock = await acquired;
      span.end();
      return lock;
    } catch (error) {
      span.end(error);
      throw atCaller(error, signal);
    }
  }

  /**
   * Acquires the lock if it is free now. Undefined when another holds it, or a caller of this pod already waits for it.
   * @throws HedgeError BACKEND_UNAVAILABLE, SHUTTING_DOWN, INVALID_ARGUMENT
   */
  async tryAcquire(name: string): Promise<Lock | undefined> {
    assertLockName(name);
    const wait = this.deps.gate.pass(`lock "${name}"`);
    if (wait !== undefined) await wait;
    return new Promise((resolve, reject) => {
      this.deps.manager.acquire(name, true, { granted: resolve, notFree: () => resolve(undefined), failed: reject });
    });
  }

  /**
   * Reads the holder of the lock from the database; undefined when the lock is free. Use it for people and logs only:
   * the holder may have changed when the answer arrives.
   * @throws HedgeError BACKEND_UNAVAILABLE, INVALID_ARGUMENT
   */
  async holder(name: string): Promise<LockHolder | undefined> {
    assertLockName(name);
    const wait = this.deps.gate.pass(`holder of lock "${name}"`);
    if (wait !== undefined) await wait;
    const { holder, token, expiresInMs } = await this.deps.manager.read(name);
    if (holder === undefined || expiresInMs <= 0) return undefined;
    return withTokenInJson({ member: holder, fencingToken: token, expiresInMs });
  }

  /**
   * Lists the locks of the group that have a holder, sorted by the UTF-8 bytes of their names. Use it for people only: a
   * lock may have another holder when the answer arrives. A holder that died is listed, as `expired`, until another caller
   * acquires the lock.
   * @throws HedgeError BACKEND_UNAVAILABLE, INVALID_ARGUMENT
   *
   * @example
   * for (const { name, member } of await locks.list({ prefix: 'invoices/' })) console.log(name, member.address);
   */
  async list(options: LockListOptions = {}): Promise<ListedLock[]> {
    checkKeys('The options of the list of locks', options, LIST_OPTIONS);
    const { prefix = '', limit = MOST_LISTED_LEASES, after } = options;
    if (!(Number.isInteger(limit) && limit > 0 && limit <= MOST_LISTED_LEASES)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `limit of the list of locks is ${inWords(limit)}. Give a whole number from 1 to ${MOST_LISTED_LEASES}, and page with after.`,
      );
    }
    const wait = this.deps.gate.pass('list of locks');
    if (wait !== undefined) await wait;
    const leases = await this.deps.manager.list({ prefix, limit, after });
    return leases.map(({ name, holder, token, leaseMs, ageMs }) =>
      withTokenInJson({
        name,
        member: holder,
        fencingToken: token,
        renewedMsAgo: Math.round(ageMs),
        expired: ageMs > leaseMs,
      }),
    );
  }

  #notFree(name: string, timeoutMs: number): HedgeError {
    const { holder, failing } = this.deps.manager.status(name);
    return failing ? lockUnknown(name, timeoutMs) : lockHeld(name, timeoutMs, holder?.address);
  }
}

function assertWait(name: string, timeoutMs: unknown, signal: unknown): void {
  if (!(typeof timeoutMs === 'number' && timeoutMs >= 0)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `timeoutMs of lock "${name}" is ${inWords(timeoutMs)}. Give a number of milliseconds, 0 to try once, Infinity to wait until the signal aborts.`,
    );
  }
  checkSignal(`lock "${name}"`, signal);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertLockName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '') {
    const got = name === '' ? 'empty' : `of type ${typeof name}`;
    throw new HedgeError('INVALID_ARGUMENT', `The name of a lock is ${got}. Give a string of at least one character.`);
  }
  assertNotReserved('lock name', name);
  assertText('name of the lock', name);
  assertLength('lock name', name, MAX_LOCK_NAME_BYTES);
}
