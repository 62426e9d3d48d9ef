import { checkKeys } from '../common/validation/check-keys.js';
import { assertWork, type TriedUse } from '../common/held.js';
import type { Permit } from './client/permit.js';
import { ACQUIRE_OPTIONS, type AcquireOptions, Semaphore, type SemaphoreDeps } from './client/semaphore.js';
import { assertLimit, assertName } from './semaphore-arguments.js';

export interface SemaphoreOptions {
  /** How many permits there are in the whole group. The first to use the semaphore sets it; all others must agree. */
  readonly limit: number;
}

/**
 * Semaphores of the whole group: something that at most so many may do at a time, on all pods together.
 *
 * The leader keeps the queues and grants by push; what is held is in the database, so that it outlives leaders.
 * A pod that dies keeps its permits until their time is over: two leases (16 s by default), and after the death of
 * the leader two leases from when the next one begins.
 *
 * @example
 * await semaphores.use('reports', { limit: 2 }, async ({ signal }) => writeReport({ signal }));
 */
export class SemaphoreService {
  constructor(private readonly deps: SemaphoreDeps) {}

  /**
   * A semaphore by its name. Asks nobody, and costs nothing until it is used.
   *
   * @param name 1 to 4,000 bytes in UTF-8, not beginning with `__hedge/` or `__caller=`.
   * @throws HedgeError INVALID_ARGUMENT
   */
  get(name: string, options: SemaphoreOptions): Semaphore {
    assertName(name);
    checkKeys(`The options of semaphore "${name}"`, options, ['limit']);
    const { limit } = options;
    assertLimit(name, limit);
    return new Semaphore(this.deps, name, limit);
  }

  /**
   * Waits for permits, runs the work, and releases whatever happens. The work should end when `permit.signal` aborts.
   *
   * @throws HedgeError as `Semaphore.acquire`; the work then did not run.
   * @throws what the work throws
   */
  async use<Result>(
    name: string,
    options: SemaphoreOptions & AcquireOptions,
    work: (permit: Permit) => Result,
  ): Promise<Awaited<Result>> {
    const { semaphore, acquire } = this.#checked(name, options, work, 'use');
    return await semaphore.use(acquire, work);
  }

  /**
   * As `use`, if the permits are free now; else `{ ran: false }`, and the work does not run.
   *
   * @throws HedgeError as `Semaphore.tryAcquire`; what the work throws
   *
   * @example
   * const { ran } = await semaphores.tryUse('reports', { limit: 2 }, ({ signal }) => writeReport({ signal }));
   */
  async tryUse<Result>(
    name: string,
    options: SemaphoreOptions & AcquireOptions,
    work: (permit: Permit) => Result,
  ): Promise<TriedUse<Awaited<Result>>> {
    const { semaphore, acquire } = this.#checked(name, options, work, 'tryUse');
    return await semaphore.tryUse(acquire, work);
  }

  #checked(name: string, options: SemaphoreOptions & AcquireOptions, work: unknown, method: string) {
    assertWork(`semaphore "${name}"`, work, `semaphores.${method}(name, options, async (permit) => …)`);
    assertName(name);
    checkKeys(`The options of semaphore "${name}"`, options, ['limit', ...ACQUIRE_OPTIONS]);
    const { limit, ...acquire } = options;
    return { semaphore: this.get(name, { limit }), acquire };
  }
}
