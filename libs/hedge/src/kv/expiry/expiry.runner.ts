import { outsideContext } from '../../common/async/async-context.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { EXPIRED_SUFFIX, GREATEST_TIMESTAMP, type LogEntry, type LogTable } from '../../database/log-table.js';
import { expiryPrefix } from '../../database/row-names.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { GroupCommitter, TransactionResult } from '../group-commit.runner.js';
import type { PutItem } from '../group-commit.messages.js';
import {
  type DeletionOutcome,
  Expiry,
  type ExpiringVersion,
  type ExpiryEffect,
  type ExpiryInput,
  type ExpiryLimits,
  type Lifetime,
} from './expiry.core.js';

/** The members of the group, as the view of a pod. */
interface View {
  readonly epoch: bigint;
  readonly settled: boolean;
  readonly members: readonly (MemberId & { readonly confirmed: boolean })[];
}

/** A put with a lifetime, before its commit. */
export type ExpiringPut = Omit<ExpiringVersion, 'timestamp'>;

export interface ExpiryRunnerOptions {
  readonly log: LogTable;
  readonly committer: Pick<GroupCommitter, 'transact'>;
  readonly clock: Clock;
  /** Row name of the election lease, whose token fences trims. */
  readonly lease: string;
  readonly group: string;
  readonly limits?: ExpiryLimits | undefined;
  readonly metrics?: Metrics | undefined;
}

/** How long group commit tries a deletion. Then the core begins another attempt. */
const DELETION_MS = 10_000;
/** Expiry rows that one trim deletes: few, because on SQLite a renewal of the lease may wait for it. */
const TRIMMED_ROWS = 500;

/** Runs `Expiry` on the leader. */
export class ExpiryRunner {
  readonly #core: Expiry;
  readonly #prefix: string;
  #token: bigint | undefined;
  #stopTimer: () => void = () => undefined;

  constructor(private readonly options: ExpiryRunnerOptions) {
    this.#core = new Expiry(options.limits);
    this.#prefix = expiryPrefix(options.group);
  }

  elected(token: bigint): void {
    this.#token = token;
    this.#step({ type: 'elected', token });
  }

  /** To call when the view of this pod has changed. */
  membersChanged(view: View | undefined): void {
    if (view === undefined || view.epoch !== this.#token) return;
    const alive = new Set(view.members.flatMap(({ confirmed, incarnation }) => (confirmed ? [incarnation] : [])));
    this.#step({ type: 'members', alive, settled: view.settled });
  }

  ended(): void {
    this.#token = undefined;
    this.#stopTimer();
    this.#step({ type: 'ended' });
  }

  /** The row that makes a put expire. It must be written in the commit of the put, fenced by the term. */
  rowOf({ key, id, lifetime }: ExpiringPut): PutItem {
    return { key: this.#prefix + key, append: { id, value: JSON.stringify(lifetime) } };
  }

  /** Runs a transaction that contains these puts with their rows, and counts their time to live from its answer. */
  async follow(puts: readonly ExpiringPut[], write: () => Promise<TransactionResult>): Promise<TransactionResult> {
    try {
      const result = await write();
      if ('timestamp' in result) {
        const { timestamp } = result;
        for (const { key, id, lifetime } of puts)
          this.#step({ type: 'put', version: { key, id, lifetime, timestamp } });
      }
      return result;
    } catch (error) {
      if (mayBeWritten(error)) {
        for (const { key } of puts) this.#step({ type: 'unsettled', key });
      }
      throw error;
    }
  }

  #step(input: ExpiryInput): void {
    for (const effect of this.#core.step(input, this.options.clock.now().mono)) this.#perform(effect);
  }

  #perform(effect: ExpiryEffect): void {
    switch (effect.type) {
      case 'list': {
        const { call, after, limit } = effect;
        return this.#call(call, async () => {
          const keys = await this.options.log.keys({ prefix: this.#prefix, limit, ...this.#behind(after) });
          const next = keys.length < limit ? undefined : this.#keyOf(keys.at(-1)!);
          return {
            type: 'listed',
            call,
            versions: (await this.#newest(keys)).flatMap((row) => this.#parse(row)),
            next,
          };
        });
      }
      case 'search': {
        const { call, after, limit } = effect;
        const query = { prefix: this.#prefix, limit, keep: 1, tombstonesBefore: GREATEST_TIMESTAMP };
        return this.#call(call, async () => {
          const { keys, next } = (await this.options.log.trimmable?.({ ...query, ...this.#behind(after) })) ?? NOTHING;
          return {
            type: 'searched',
            call,
            keys: keys.map((key) => this.#keyOf(key)),
            next: next && this.#keyOf(next),
          };
        });
      }
      case 'look': {
        const { call, key } = effect;
        return this.#call(call, async () => {
          const row = await this.options.log.latest(this.#prefix + key);
          return { type: 'looked', call, version: row && this.#parse(row)[0] };
        });
      }
      case 'delete':
      case 'close': {
        const { type, call, version } = effect;
        const row = this.#prefix + version.key;
        return this.#call(call, async () => {
          const outcome = await this.#bury(type === 'delete' ? [version.key, row] : [row], effect);
          if (type === 'delete' && outcome === 'done') this.options.metrics?.add('hedge.kv.expired');
          return { type: 'deleted', call, outcome };
        });
      }
      case 'trim': {
        const { call, token, key } = effect;
        const trim = { key: this.#prefix + key, keep: 1, tombstonesBefore: GREATEST_TIMESTAMP, limit: TRIMMED_ROWS };
        return this.#call(call, async () => {
          const deleted = await this.options.log.trim?.(trim, { lease: this.options.lease, token });
          return { type: 'trimmed', call, more: deleted === TRIMMED_ROWS };
        });
      }
      case 'wake':
        this.#stopTimer();
        this.#stopTimer = this.options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
    }
  }

  /** Appends a tombstone to each of the keys, if the version is the newest one of all. */
  async #bury(
    keys: readonly string[],
    { version: { timestamp, id }, token }: { readonly version: ExpiringVersion; readonly token: bigint },
  ): Promise<DeletionOutcome> {
    const items = keys.map((key) => ({
      key,
      // The same for all attempts, also for those of the next leader.
      append: { id: id + EXPIRED_SUFFIX, value: '' },
      condition: { follows: { timestamp, id } },
    }));
    const result = await this.options.committer.transact({ items, fence: token }, DELETION_MS);
    if ('timestamp' in result) return 'done';
    return result.refused.some(({ place }) => place === keys.length - 1) ? 'renewed' : 'replaced';
  }

  #call(call: number, run: () => Promise<ExpiryInput>): void {
    outsideContext(() => {
      void run().then(
        (input) => this.#step(input),
        () => this.#step({ type: 'failed', call }),
      );
    });
  }

  async #newest(keys: readonly string[]): Promise<LogEntry[]> {
    const { log } = this.options;
    const found: LogEntry[] = [];
    for (let left = keys; left.length > 0;) {
      const rows = (await log.latestOf?.(left)) ?? new Map([[left[0]!, await log.latest(left[0]!)] as const]);
      for (const row of rows.values()) if (row !== undefined) found.push(row);
      left = left.filter((key) => !rows.has(key));
    }
    return found;
  }

  /** A row that a later version wrote in another form is left to it. */
  #parse({ key, id, timestamp, value }: LogEntry): ExpiringVersion[] {
    if (value === '') return [];
    try {
      const lifetime = lifetimeOf(JSON.parse(value));
      return lifetime === undefined ? [] : [{ key: this.#keyOf(key), id, timestamp, lifetime }];
    } catch {
      return [];
    }
  }

  #behind(after: string | undefined): { readonly after?: string } {
    return after === undefined ? {} : { after: this.#prefix + after };
  }

  #keyOf(expiryKey: string): string {
    return expiryKey.slice(this.#prefix.length);
  }
}

function lifetimeOf(parsed: unknown): Lifetime | undefined {
  const { ttlMs, owner } = parsed as { readonly ttlMs?: unknown; readonly owner?: Partial<MemberId> };
  if (typeof ttlMs === 'number' && ttlMs > 0) return { ttlMs };
  const { address, incarnation } = owner ?? {};
  return address === undefined || incarnation === undefined ? undefined : { owner: { address, incarnation } };
}

const NOTHING = { keys: [], next: undefined };

/** Whether a put that failed so may be in the database, or may come there. After LEASE_LOST the next leader finds it. */
function mayBeWritten(error: unknown): boolean {
  if (!(error instanceof HedgeError)) return true;
  return error.code === 'OUTCOME_UNKNOWN' || (error.code === 'DEADLINE_EXCEEDED' && error.details['started'] === true);
}
