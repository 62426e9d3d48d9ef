import { checkKeys } from '../common/validation/check-keys.js';
import { assertWork, type TriedUse } from '../common/held.js';
import type { Permit } from './client/permit.js';
import { ACQUIRE_OPTIONS, type AcquireOptions, Semaphore, type SemaphoreDeps } from './client/semaphore.js';
import { assertLimit, assertName } from './semaphore-arguments.js';

export interface SemaphoreOptions {
  /** The number of permits in the whole group. The first caller sets it; all others must request the same. */
  readonly limit: number;
}

/**
 * Semaphores of the whole group: each limits how many callers do something at the same time, over all pods.
 *
 * The leader keeps the queues and pushes grants. Held permits are stored in the database, so that they outlive leaders.
 * The permits of a dead pod expire after two leases (16 s by default); after the death of the leader, two leases after
 * the start of the next term.
 *
 * @example
 * await semaphores.use('reports', { limit: 2 }, async ({ signal }) => writeReport({ signal }));
 */
export class SemaphoreService {
  constructor(private readonly deps: SemaphoreDeps) {}

  /**
   * Returns a semaphore by its name. It sends no request, and costs nothing until it is used.
   *
   * @param name 1 to 4,000 bytes in UTF-8; must not begin with `__hedge/` or `__caller=`.
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
   * Acquires permits, runs the work, and releases them whatever the outcome. The work should end when `permit.signal`
   * aborts.
   *
   * @throws HedgeError as `Semaphore.acquire`; then the work did not run.
   * @throws the error of the work
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
   * As `use` if the permits are free now. Else the result is `{ ran: false }`, and the work does not run.
   *
   * @throws HedgeError as `Semaphore.tryAcquire`; the error of the work
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
