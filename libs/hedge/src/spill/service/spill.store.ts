import { MAX_TIMER_MS, type Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { assertWork } from '../../common/held.js';
import type { StartGate } from '../../common/async/start-gate.js';
import { inWords } from '../../messaging/call-options.js';
import type { TierBytes } from '../node/storage.js';
import { lz4 } from '../records/compression.js';
import { checkKeys } from '../../common/validation/check-keys.js';
import { checkedBytes, type Size } from './size.js';
import { SpilledData, type SpillContext, type SpilledDataStats } from './spilled-data.js';

const MAX_NAME_LENGTH = 256;
const KNOWN_OPTIONS = [
  'memoryLimit',
  'diskLimit',
  'ttlMs',
  'copies',
  'compression',
] satisfies (keyof SpillCreateOptions)[];

export interface SpillCreateOptions {
  /** RAM that the store takes on each pod at most, in bytes or as '512MB'. Default: what the pod lends. */
  readonly memoryLimit?: Size;
  /** Disk, likewise. */
  readonly diskLimit?: Size;
  /** Milliseconds after which the store is dropped by itself. Default: never, as long as this pod lives. */
  readonly ttlMs?: number;
  /** On how many pods each record is: with 2, reading survives the loss of one. Default: 1. */
  readonly copies?: 1 | 2;
  /** `lz4` needs the package `lz4-napi`. Default: `none`. */
  readonly compression?: 'none' | 'lz4';
}

export interface SpillStoreDeps {
  readonly gate: StartGate;
  /** Undefined when this pod has stopped. */
  readonly context: () => SpillContext | undefined;
  readonly clock: Clock;
}

/**
 * More data than one pod can hold, over the RAM and disk that the pods of the group lend: a buffer to load,
 * process and discard. This pod's RAM comes first, then its disk, then the other pods.
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
   * Creates spilled data of this pod. Its name is this pod's own: another pod may use the same for other data.
   * @throws HedgeError CONFLICT when this pod has spilled data of that name; INVALID_ARGUMENT; INVALID_OPTIONS when a
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
        `Spilled data '${name}' exists already on this pod. Drop it first (spill.get('${name}')), or take another name.`,
      );
    }
    this.#reserved.add(name);
    try {
      const compression = options.compression === 'lz4' ? await lz4() : undefined;
      const context = this.#context(name);
      const store = { name, epoch: context.renewals.issue(), limits, copies };
      const data = new SpilledData({ context, store, compression, dropped: () => this.#forget(name) });
      const expire = (): void => void data.expire().catch(() => undefined);
      const cancelExpiry = ttlMs === undefined ? () => undefined : this.#deps.clock.after(ttlMs, expire);
      this.#stores.set(name, { data, cancelExpiry });
      return data;
    } finally {
      this.#reserved.delete(name);
    }
  }

  /**
   * Creates spilled data while the function runs, and drops it then, whatever the outcome.
   * @returns what the function returned
   * @throws HedgeError as `create`; what the function throws.
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

  /** Statistics of all spilled data of this pod. */
  list(): SpilledDataStats[] {
    return [...this.#stores.values()].map(({ data }) => data.stats());
  }

  /** The spilled data of that name; undefined when this pod has none. */
  get(name: string): SpilledData | undefined {
    return this.#stores.get(name)?.data;
  }

  /** The members or their space have changed. @internal */
  membersChanged(): void {
    for (const { data } of this.#stores.values()) data.membersChanged();
  }

  /** Drops all. @internal */
  async dropAll(): Promise<void> {
    await Promise.all([...this.#stores.values()].map(({ data }) => data.drop()));
  }

  #forget(name: string): void {
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

function checkName(name: unknown): void {
  if (typeof name === 'string' && name !== '' && name.length <= MAX_NAME_LENGTH && name.isWellFormed()) return;
  const got = typeof name === 'string' ? describeName(name) : `a value of type ${typeof name}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The name of spilled data is a string of 1 to ${MAX_NAME_LENGTH} characters, and this is ${got}. Give another.`,
  );
}

function describeName(name: string): string {
  return name.isWellFormed() ? `one of ${name.length} characters` : 'one with a lone surrogate';
}

function limitsOf(name: string, { memoryLimit, diskLimit }: SpillCreateOptions): TierBytes {
  const limits = {
    memory: memoryLimit === undefined ? Number.MAX_SAFE_INTEGER : checkedBytes('memoryLimit', memoryLimit),
    disk: diskLimit === undefined ? Number.MAX_SAFE_INTEGER : checkedBytes('diskLimit', diskLimit),
  };
  if (limits.memory > 0 || limits.disk > 0) return limits;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `Spilled data '${name}' would hold nothing: memoryLimit and diskLimit are both 0. Give one of them, or neither.`,
  );
}

function checkOptions(options: SpillCreateOptions): void {
  checkKeys('The options of spilled data', options, KNOWN_OPTIONS);
  const { copies, ttlMs, compression } = options;
  const problem =
    copies !== undefined && copies !== 1 && copies !== 2
      ? `copies is ${inWords(copies)}; give 1 or 2`
      : ttlMs !== undefined && !(Number.isInteger(ttlMs) && ttlMs >= 1 && ttlMs <= MAX_TIMER_MS)
        ? `ttlMs is ${inWords(ttlMs)}; give whole milliseconds from 1 to ${MAX_TIMER_MS}`
        : compression !== undefined && compression !== 'none' && compression !== 'lz4'
          ? `compression is ${inWords(compression)}; give 'none' or 'lz4'`
          : undefined;
  if (problem !== undefined) throw new HedgeError('INVALID_ARGUMENT', `Spilled data was not created: ${problem}.`);
}
