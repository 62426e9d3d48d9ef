import { checkKeys } from '../../common/validation/check-keys.js';
import { atCaller } from '../../common/errors.js';
import { beginSpan } from '../../telemetry/tracing.js';
import { assertWork, runAndRelease, type TriedUse } from '../../common/held.js';
import { withTokenInJson } from '../../common/token-in-json.js';
import type { PermitTable } from '../../database/permit-table.js';
import type { MemberId } from '../../common/identity.js';
import type { StartGate } from '../../common/async/start-gate.js';
import { checkCallOptions } from '../../messaging/call-options.js';
import type { Permit } from './permit.js';
import type { SemaphoreClient } from './semaphore-client.runner.js';
import { readState } from '../server/permit-row.js';
import { assertLimit, assertPermits } from '../semaphore-arguments.js';

export interface AcquireOptions {
  /** The number of permits, all or none. Default: 1. */
  readonly permits?: number | undefined;
  /** The maximum wait in milliseconds. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the wait: `acquire` rejects with the signal's reason, and nothing is held. */
  readonly signal?: AbortSignal | undefined;
}

/** Held permits, as stored in the database. `JSON.stringify` shows their token as digits. */
export interface SemaphoreHolder {
  readonly id: string;
  /** The address of a client is empty. */
  readonly member: MemberId;
  readonly permits: number;
  readonly fencingToken: bigint;
}

export const ACQUIRE_OPTIONS = Object.keys({ permits: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof AcquireOptions,
  0
>);

export interface SemaphoreDeps {
  readonly gate: StartGate;
  readonly client: SemaphoreClient;
  readonly table: Pick<PermitTable, 'read'>;
  readonly group: string;
  readonly defaultTimeoutMs: number;
}

/**
 * One semaphore of the group: at most `limit` permits are valid at any instant, on all pods together (S1).
 *
 * Created by `SemaphoreService.get`. It costs nothing until it is used, and many may have the same name.
 */
export class Semaphore {
  #limit: number;

  constructor(
    private readonly deps: SemaphoreDeps,
    readonly name: string,
    limit: number,
  ) {
    this.#limit = limit;
  }

  /** The limit that this pod requests. */
  get limit(): number {
    return this.#limit;
  }

  /**
   * Waits for permits: first come, first served over all pods. Later requests for few permits do not overtake an earlier
   * one for many. A caller leaves the queue at its deadline, when its signal aborts, and when its pod dies.
   *
   * @throws HedgeError DEADLINE_EXCEEDED, NO_LEADER: the permits were not free in time, or there is no leader; nothing is
   *   held.
   * @throws HedgeError CONFLICT: the semaphore has another limit; see `details.limit` and `details.agreed`.
   * @throws HedgeError INVALID_ARGUMENT, OVERLOADED, MEMBER_UNREACHABLE, SHUTTING_DOWN: nothing is held.
   * @throws the signal's reason when it aborted
   *
   * @example
   * const permit = await semaphores.get('reports', { limit: 2 }).acquire({ timeoutMs: 60_000 });
   * try { await report(permit.signal); } finally { await permit.release(); }
   */
  async acquire(options: AcquireOptions = {}): Promise<Permit> {
    // A request that waits is granted, or fails.
    return (await this.#ask(options, true)) as Permit;
  }

  /**
   * As `acquire`, but undefined when the permits are not free now, or others already wait. `timeoutMs` covers the calls
   * to the leader and the database, and no wait in the queue.
   */
  async tryAcquire(options: AcquireOptions = {}): Promise<Permit | undefined> {
    return await this.#ask(options, false);
  }

  /**
   * Acquires permits, runs the work, and releases them whatever the outcome.
   * @throws HedgeError as `acquire`; the error of the work
   */
  use<Result>(work: (permit: Permit) => Result): Promise<Awaited<Result>>;
  use<Result>(options: AcquireOptions, work: (permit: Permit) => Result): Promise<Awaited<Result>>;
  async use<Result>(
    options: AcquireOptions | ((permit: Permit) => Result),
    work?: (permit: Permit) => Result,
  ): Promise<Awaited<Result>> {
    const [run, settings] = typeof options === 'function' ? [options, {}] : [work, options];
    assertWork(`semaphore "${this.name}"`, run, 'semaphore.use(options, async (permit) => …)');
    return await runAndRelease(await this.acquire(settings), run);
  }

  /**
   * As `use` if the permits are free now. Else the result is `{ ran: false }`, and the work does not run.
   * @throws HedgeError as `tryAcquire`; the error of the work
   */
  tryUse<Result>(work: (permit: Permit) => Result): Promise<TriedUse<Awaited<Result>>>;
  tryUse<Result>(options: AcquireOptions, work: (permit: Permit) => Result): Promise<TriedUse<Awaited<Result>>>;
  async tryUse<Result>(
    options: AcquireOptions | ((permit: Permit) => Result),
    work?: (permit: Permit) => Result,
  ): Promise<TriedUse<Awaited<Result>>> {
    const [run, settings] = typeof options === 'function' ? [options, {}] : [work, options];
    assertWork(`semaphore "${this.name}"`, run, 'semaphore.tryUse(options, async (permit) => …)');
    const permit = await this.tryAcquire(settings);
    return permit === undefined ? { ran: false } : { ran: true, result: await runAndRelease(permit, run) };
  }

  /**
   * Changes the limit for the group. A higher limit grants permits to waiting callers. A limit below the number of held
   * permits takes effect as they are released. Pods that still request the old limit get CONFLICT; callers that already
   * wait stay in the queue.
   * @throws HedgeError INVALID_ARGUMENT, NO_LEADER, DEADLINE_EXCEEDED, OUTCOME_UNKNOWN, …: see `LeaderService.send`.
   */
  async resize(limit: number, options: Pick<AcquireOptions, 'timeoutMs' | 'signal'> = {}): Promise<void> {
    assertLimit(this.name, limit);
    const { timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    checkKeys(`The options of resize of semaphore "${this.name}"`, options, ['timeoutMs', 'signal']);
    checkCallOptions('resize', this.name, timeoutMs, signal);
    await this.#started('resize');
    await this.deps.client.resize({ name: this.name, limit, timeoutMs, signal });
    this.#limit = limit;
  }

  /**
   * Reads the holders from the database. The permits of a dead pod are listed until the leader revokes them.
   * @throws HedgeError BACKEND_UNAVAILABLE; CONFLICT when the row belongs to another group.
   */
  async holders(): Promise<SemaphoreHolder[]> {
    await this.#started('holders');
    const row = await this.deps.table.read(this.name);
    if (row === undefined) return [];
    return [...readState({ group: this.deps.group, name: this.name }, row).held.values()].map(
      ({ id, holder, permits, token }) => {
        return withTokenInJson({ id, member: holder, permits, fencingToken: token });
      },
    );
  }

  #started(call: string): Promise<void> | undefined {
    return this.deps.gate.pass(`${call} of semaphore "${this.name}"`);
  }

  async #ask(options: AcquireOptions, wait: boolean): Promise<Permit | undefined> {
    const { name, limit } = this;
    const { permits = 1, timeoutMs = this.deps.defaultTimeoutMs, signal } = options;
    assertPermits(name, permits, limit);
    checkKeys(`The options of ${wait ? 'acquire' : 'tryAcquire'} of semaphore "${name}"`, options, ACQUIRE_OPTIONS);
    checkCallOptions(wait ? 'acquire' : 'tryAcquire', name, timeoutMs, signal);
    const starting = this.#started(wait ? 'acquire' : 'tryAcquire');
    if (starting !== undefined) await starting;
    const span = beginSpan('hedge.semaphore.wait', { 'hedge.semaphore.name': name, 'hedge.permits': permits });
    try {
      const permit = await new Promise<Permit | undefined>((resolve, reject) => {
        this.deps.client.acquire({ name, limit, permits, wait, timeoutMs, signal }, { resolve, reject });
      });
      span.end();
      return permit;
    } catch (error) {
      span.end(error);
      throw atCaller(error, signal);
    }
  }
}
