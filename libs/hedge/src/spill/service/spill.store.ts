import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { assertWork } from '../../common/held.js';
import type { StartGate } from '../../common/async/start-gate.js';
import { lz4 } from '../records/compression.js';
import { checkName, checkOptions, limitsOf, type SpillCreateOptions } from './spill-create-options.js';
import { SpilledData, type SpillContext, type SpilledDataStats } from './spilled-data.js';

export interface SpillStoreDeps {
  readonly gate: StartGate;
  /** Undefined unless this pod is started. */
  readonly context: () => SpillContext | undefined;
  readonly clock: Clock;
}

/**
 * Holds more data than one pod can, in the RAM and on the disks that the pods of the group offer: a buffer to load,
 * process and discard. Records go to this pod's RAM first, then to its disk, then to the other pods.
 *
 * @example
 * await spill.use('import', { copies: 2 }, async (data) => {
 *   for await (const row of rows) await data.write(row);
 *   await data.close();
 *   for await (const record of data.read()) await load(record);
 * });
 */
export class SpillStore {
  readonly #deps: SpillStoreDeps;
  readonly #stores = new Map<string, { data: SpilledData; cancelExpiry: () => void }>();
  /** Names that are being created. */
  readonly #reserved = new Set<string>();

  constructor(deps: SpillStoreDeps) {
    this.#deps = deps;
  }

  /**
   * Creates spilled data of this pod. Names are local to a pod: another pod may use the same name for other data.
   * @throws HedgeError CONFLICT when this pod has spilled data of that name; INVALID_ARGUMENT; INVALID_OPTIONS when the
   *   package for the compression is missing; SHUTTING_DOWN when this pod is not started
   */
  async create(name: string, options: SpillCreateOptions = {}): Promise<SpilledData> {
    checkName(name);
    checkOptions(options);
    const { copies = 1, ttlMs } = options;
    const limits = limitsOf(name, options);
    const wait = this.#deps.gate.pass(`spilled data '${name}'`);
    if (wait !== undefined) await wait;
    if (this.#stores.has(name) || this.#reserved.has(name)) {
      throw new HedgeError(
        'CONFLICT',
        `Spilled data '${name}' exists already on this pod. Drop it first (spill.get('${name}')), or use another name.`,
      );
    }
    this.#reserved.add(name);
    try {
      const compression = options.compression === 'lz4' ? await lz4() : undefined;
      const context = this.#context(name);
      const store = { name, epoch: context.replicas.nextEpoch(), limits, copies };
      const data = new SpilledData({ context, store, compression, dropped: () => this.#remove(name) });
      const expire = (): void => void data.expire().catch(() => undefined);
      const cancelExpiry = ttlMs === undefined ? () => undefined : this.#deps.clock.after(ttlMs, expire);
      this.#stores.set(name, { data, cancelExpiry });
      return data;
    } finally {
      this.#reserved.delete(name);
    }
  }

  /**
   * Creates spilled data, runs the function with it, and drops it, also when the function throws.
   * @returns the result of the function
   * @throws HedgeError as `create`; the error of the function
   */
  use<Result>(name: string, work: (data: SpilledData) => Result): Promise<Awaited<Result>>;
  use<Result>(name: string, options: SpillCreateOptions, work: (data: SpilledData) => Result): Promise<Awaited<Result>>;
  async use<Result>(
    name: string,
    options: SpillCreateOptions | ((data: SpilledData) => Result),
    work?: (data: SpilledData) => Result,
  ): Promise<Awaited<Result>> {
    const [task, settings] = typeof options === 'function' ? [options, {}] : [work, options];
    checkName(name);
    assertWork(`spilled data '${name}'`, task, 'spill.use(name, options, async (data) => …)');
    const data = await this.create(name, settings);
    try {
      return await task(data);
    } finally {
      await data.drop();
    }
  }

  /** The statistics of all spilled data of this pod. */
  list(): SpilledDataStats[] {
    return [...this.#stores.values()].map(({ data }) => data.stats());
  }

  /** The spilled data of that name on this pod, if there is any. */
  get(name: string): SpilledData | undefined {
    return this.#stores.get(name)?.data;
  }

  /** The members or their capacity have changed. @internal */
  membersChanged(): void {
    for (const { data } of this.#stores.values()) data.membersChanged();
  }

  /** Drops all spilled data. @internal */
  async dropAll(): Promise<void> {
    await Promise.all([...this.#stores.values()].map(({ data }) => data.drop()));
  }

  #remove(name: string): void {
    this.#stores.get(name)?.cancelExpiry();
    this.#stores.delete(name);
  }

  #context(name: string): SpillContext {
    const context = this.#deps.context();
    if (context !== undefined) return context;
    throw new HedgeError(
      'SHUTTING_DOWN',
      `Spilled data '${name}' cannot be created: this pod is stopping, or its mode is 'off'.`,
    );
  }
}
