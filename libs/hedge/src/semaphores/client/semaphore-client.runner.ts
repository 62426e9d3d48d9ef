import { onAbort } from '../../common/async/on-abort.js';
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/line-logger.js';
import { HedgeError } from '../../common/errors.js';
import type { UserTransactions } from '../../database/user-transactions.js';
import type { Encoded, OutgoingRequest } from '../../messaging/message.js';
import type { PermitAcquired } from '../../wire/hedge/v1/semaphore.js';
import { HeldPermits, type HeldPermitsEffect, type HeldPermitsInput, type PermitLoss } from './held-permits.core.js';
import { PermitHandle, type PermitOwner } from './permit.js';
import {
  acquiredOf,
  acquireRequest,
  releaseRequest,
  renewedOf,
  renewRequest,
  resizeRequest,
} from '../semaphore-wire.js';
import { notInTime, permitLost, stopping, tooManyHere } from '../semaphore-errors.js';
import type { SemaphoreTiming } from '../semaphore-timing.js';
import { type Metrics, NO_METRICS, type Reading } from '../../telemetry/metrics.js';

/** The number of permits that one process may hold and wait for: one renewal must fit into one message. */
const MOST_PERMITS = 10_000;

export interface SemaphoreClientOptions {
  readonly messenger: { request(request: OutgoingRequest): Promise<Encoded> };
  readonly clock: Pick<Clock, 'now' | 'after'>;
  readonly timing: SemaphoreTiming;
  readonly transactions?: UserTransactions | undefined;
  /**
   * Releases permits of a semaphore without a leader; false when there is one. For the stop of the last pod of a group.
   * Default: the permits expire.
   */
  readonly releaseWithoutLeader?: (name: string, ids: ReadonlySet<string>) => Promise<boolean>;
  /** Called each time a lease or permit expires because it was not renewed, with words for the log. */
  readonly onExpired?: ((what: string) => void) | undefined;
  readonly metrics?: Metrics | undefined;
  readonly logger?: Pick<Logger, 'warn'> | undefined;
  /** UUIDs. */
  readonly newId?: () => string;
  /** Default: `HeldPermits`. */
  readonly makeHeldPermits?: (timing: SemaphoreTiming) => HeldPermits;
}

export interface PermitRequest {
  readonly name: string;
  readonly limit: number;
  readonly permits: number;
  readonly wait: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export type ResizeRequest = Pick<PermitRequest, 'name' | 'limit' | 'timeoutMs' | 'signal'>;

/** Called once with the outcome of a request for permits. */
export interface PermitCallbacks {
  /** Undefined: the permits are not free now, and the request does not wait. */
  resolve(permit: PermitHandle | undefined): void;
  reject(error: unknown): void;
}

interface PendingAcquire {
  readonly id: string;
  readonly request: PermitRequest;
  readonly callbacks: PermitCallbacks;
  /** A monotonic time. */
  readonly deadline: number;
  /** Cancels the request at the leader. */
  readonly scope: AbortController;
  readonly stopListening: () => void;
  /** The leader may have granted the permits. */
  maybeGranted: boolean;
  fencingToken: bigint;
  cancelDeadline: () => void;
}

/**
 * Acquires, renews and releases the permits of this process. Permits that the leader may have granted to a caller that
 * no longer waits are released in the background.
 */
export class SemaphoreClient implements PermitOwner {
  readonly #options: SemaphoreClientOptions;
  readonly #heldPermits: HeldPermits;
  readonly #pending = new Map<string, PendingAcquire>();
  readonly #handles = new Map<string, PermitHandle>();
  /** Releases that the leader has not acknowledged. */
  readonly #releasing = new Set<Promise<void>>();
  #cancelWake: () => void = () => undefined;
  #stopped = false;

  constructor(options: SemaphoreClientOptions) {
    this.#options = options;
    const { timing, makeHeldPermits = (used) => new HeldPermits(used) } = options;
    this.#heldPermits = makeHeldPermits(timing);
  }

  get transactions(): UserTransactions | undefined {
    return this.#options.transactions;
  }

  /** The held permits, for metrics. */
  get held(): Reading[] {
    return Array.from(this.#handles.values(), ({ name, permits }) => ({ value: permits, labels: { semaphore: name } }));
  }

  /** The waiting callers, for metrics. */
  get waiting(): Reading[] {
    return Array.from(this.#pending.values(), ({ request }) => ({ value: 1, labels: { semaphore: request.name } }));
  }

  acquire(request: PermitRequest, callbacks: PermitCallbacks): void {
    const { name, timeoutMs, signal } = request;
    if (this.#stopped) return callbacks.reject(stopping(name));
    if (signal?.aborted === true) return callbacks.reject(signal.reason);
    if (this.#heldPermits.size >= MOST_PERMITS) return callbacks.reject(tooManyHere(name, MOST_PERMITS));
    const id = (this.#options.newId ?? randomUUID)();
    const abort = (): void => this.#abort(pending, signal?.reason);
    const pending: PendingAcquire = {
      id,
      request,
      callbacks,
      deadline: this.#now() + timeoutMs,
      scope: new AbortController(),
      stopListening: signal === undefined ? () => undefined : onAbort(signal, abort),
      maybeGranted: false,
      fencingToken: 0n,
      cancelDeadline: () => undefined,
    };
    this.#pending.set(id, pending);
    this.#ask(pending);
  }

  /** @throws HedgeError as `Messenger.request` */
  async resize({ name, limit, timeoutMs, signal }: ResizeRequest): Promise<void> {
    const ifUnknown = 'The limit was set or not: call resize again';
    await this.#options.messenger.request({ ...resizeRequest(name, limit), timeoutMs, signal, ifUnknown });
  }

  /** Whether the permit is valid now. A false answer is final. */
  holds(id: string): boolean {
    this.#step({ type: 'tick', id });
    return this.#heldPermits.holds(id, this.#options.clock.now());
  }

  release({ id, name }: PermitHandle): Promise<void> {
    this.#handles.delete(id);
    this.#step({ type: 'end', id });
    return this.#release(name, id);
  }

  /** Rejects new and waiting requests; held permits stay. Idempotent. */
  drain(): void {
    this.#stopped = true;
    for (const pending of this.#pending.values()) this.#abort(pending, stopping(pending.request.name));
  }

  /** Aborts and releases all held permits. Resolves when they are released or expired. */
  async close(): Promise<void> {
    this.drain();
    const held = [...this.#handles.values()];
    for (const permit of held) {
      permit.lose(new HedgeError('SHUTTING_DOWN', `This pod is stopping and releases semaphore "${permit.name}"`));
      void permit.release();
    }
    const names = new Set(held.map(({ name }) => name));
    await Promise.race([
      Promise.all(this.#releasing),
      Promise.all(Array.from(names, (name) => this.#releaseLast(name, held))),
    ]);
    this.#cancelWake();
  }

  /** Releases without a leader; if there is one, waits for the releases that it acknowledges. */
  async #releaseLast(name: string, held: readonly PermitHandle[]): Promise<void> {
    const { releaseWithoutLeader = () => Promise.resolve(false) } = this.#options;
    const ids = held.filter((permit) => permit.name === name).map(({ id }) => id);
    const released = await releaseWithoutLeader(name, new Set(ids)).catch(() => false);
    if (!released) await Promise.all(this.#releasing);
  }

  #ask(pending: PendingAcquire): void {
    const { id, request, deadline, scope } = pending;
    const { name, limit, permits, wait } = request;
    const leftMs = deadline - this.#now();
    if (leftMs <= 0) return this.#fail(pending, notInTime(request));
    this.#step({ type: 'begin', id, name });
    const acquire = acquireRequest({ name, id, limit, permits, wait, timeoutMs: Math.ceil(request.timeoutMs) });
    this.#options.messenger.request({ ...acquire, timeoutMs: leftMs, signal: scope.signal }).then(
      (reply) => this.#answered(pending, acquiredOf(reply)),
      (error: unknown) => this.#refused(pending, error),
    );
  }

  #answered(pending: PendingAcquire, { granted, fencingToken, permitMs }: PermitAcquired): void {
    if (this.#pending.get(pending.id) !== pending) return;
    if (!granted) {
      this.#settled(pending, 'not_free');
      this.#step({ type: 'end', id: pending.id });
      return pending.callbacks.resolve(undefined);
    }
    pending.maybeGranted = true;
    pending.fencingToken = fencingToken;
    this.#step({ type: 'granted', id: pending.id, permitMs });
    if (!this.#pending.has(pending.id)) return;
    const leftMs = Math.max(0, pending.deadline - this.#now());
    pending.cancelDeadline = this.#options.clock.after(leftMs, () => this.#fail(pending, notInTime(pending.request)));
  }

  #refused(pending: PendingAcquire, error: unknown): void {
    if (this.#pending.get(pending.id) !== pending) return;
    const code = error instanceof HedgeError ? error.code : undefined;
    if (code === 'OUTCOME_UNKNOWN') {
      // Repeats the request with the same id: the leader recognises an earlier grant.
      pending.maybeGranted = true;
      return this.#ask(pending);
    }
    pending.maybeGranted ||= code === 'DEADLINE_EXCEEDED';
    this.#fail(pending, code === 'DEADLINE_EXCEEDED' ? notInTime(pending.request) : error);
  }

  #abort(pending: PendingAcquire, reason: unknown): void {
    pending.maybeGranted = true;
    this.#fail(pending, reason);
    pending.scope.abort(reason);
  }

  #fail(pending: PendingAcquire, error: unknown): void {
    const { id, request, callbacks, maybeGranted } = pending;
    // Else it is the reason of the caller's signal.
    const failed = error instanceof HedgeError && error.code !== 'DEADLINE_EXCEEDED';
    this.#settled(pending, failed ? 'failed' : 'cancelled');
    this.#step({ type: 'end', id });
    if (maybeGranted) void this.#release(request.name, id);
    callbacks.reject(error);
  }

  #settled(pending: PendingAcquire, outcome: 'acquired' | 'not_free' | 'cancelled' | 'failed'): void {
    const { request, deadline } = pending;
    const { metrics = NO_METRICS } = this.#options;
    if (metrics.listening) {
      const waitedMs = this.#now() - (deadline - request.timeoutMs);
      metrics.record('hedge.permit.wait.duration', waitedMs / 1_000, { outcome, semaphore: request.name });
    }
    this.#pending.delete(pending.id);
    pending.cancelDeadline();
    pending.stopListening();
  }

  #release(name: string, id: string): Promise<void> {
    const deadline = this.#now() + this.#options.timing.permitMs;
    const released = new Promise<void>((resolve) => this.#tryRelease(name, id, deadline, resolve));
    this.#releasing.add(released);
    void released.then(() => this.#releasing.delete(released));
    return released;
  }

  /** Retries until the leader has acknowledged the release, or the permits have expired there. */
  #tryRelease(name: string, id: string, deadline: number, settle: () => void): void {
    const { messenger, clock, timing } = this.#options;
    const leftMs = deadline - this.#now();
    if (leftMs <= 0) return settle();
    messenger.request({ ...releaseRequest(name, id), timeoutMs: leftMs }).then(
      () => settle(),
      (error: unknown) => {
        if (error instanceof HedgeError && FINAL.has(error.code)) return settle();
        clock.after(timing.retryMs, () => this.#tryRelease(name, id, deadline, settle));
      },
    );
  }

  #step(input: HeldPermitsInput): void {
    for (const effect of this.#heldPermits.step(input, this.#options.clock.now())) this.#perform(effect);
  }

  #perform(effect: HeldPermitsEffect): void {
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.#options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'renew':
        return this.#renew(effect.renewal, effect.ids);
      case 'usable':
        return this.#usable(effect.id);
      case 'lost':
        return this.#lost(effect.id, effect.why);
    }
  }

  #renew(renewal: number, ids: ReadonlyMap<string, readonly string[]>): void {
    const { messenger, timing } = this.#options;
    messenger.request({ ...renewRequest(ids), timeoutMs: timing.heardWithinMs }).then(
      (reply) => this.#step({ type: 'renewed', renewal, unknown: renewedOf(reply).unknown }),
      // The next heartbeat renews all of them again.
      () => undefined,
    );
  }

  #usable(id: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#settled(pending, 'acquired');
    const { request, fencingToken, callbacks } = pending;
    const permit = new PermitHandle(this, { id, name: request.name, permits: request.permits, fencingToken });
    this.#handles.set(id, permit);
    callbacks.resolve(permit);
  }

  #lost(id: string, why: PermitLoss): void {
    const pending = this.#pending.get(id);
    if (pending !== undefined) {
      // The grant was revoked before this process could use it.
      pending.cancelDeadline();
      return this.#ask(pending);
    }
    const permit = this.#handles.get(id);
    this.#handles.delete(id);
    if (permit === undefined) return;
    const { metrics = NO_METRICS, logger, onExpired } = this.#options;
    const { name, fencingToken: token } = permit;
    metrics.add('hedge.permit.losses', { reason: why, semaphore: name }, permit.permits);
    const error = permitLost(name, why);
    logger?.warn(error.message, { event: 'permit.lost', semaphore: name, token, reason: why, code: error.code });
    if (why === 'expired') onExpired?.(`a permit of semaphore "${name}"`);
    permit.lose(error);
  }

  #now(): number {
    return this.#options.clock.now().mono;
  }
}

/** Errors after which a retry would not help. */
const FINAL: ReadonlySet<string> = new Set(['SHUTTING_DOWN', 'INVALID_ARGUMENT', 'CONFLICT']);
