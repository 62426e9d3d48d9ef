import { TIMING_PRESETS } from '../../libs/hedge/src/common/timing.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { EXPIRED_SUFFIX, type LogEntry } from '../../libs/hedge/src/database/log-table.js';
import { expiryPrefix } from '../../libs/hedge/src/database/row-names.js';
import type {
  Expiry,
  ExpiringVersion,
  ExpiryEffect,
  ExpiryInput,
  ExpiryLimits,
  Lifetime,
} from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { PutItem, PutOutcome, Write } from '../../libs/hedge/src/kv/group-commit.messages.js';
import type { View } from '../../libs/hedge/src/membership/view.js';
import type { Cluster } from './cluster.js';
import type { Machine, Thread } from './machine.js';

/** `lateMs` is the time after which an append of this simulation has taken effect, as `leastAgeMs` of retention. */
export const EXPIRY_LIMITS: ExpiryLimits = {
  keys: 2,
  calls: 2,
  rows: 3,
  retryMs: 200,
  pauseMs: 5,
  trims: 2,
  untrimmed: 3,
  graceMs: TIMING_PRESETS.local.heartbeatTimeoutMs,
  lateMs: 13_500,
};

export const EXPIRY_PREFIX = expiryPrefix('g');

const DELETION_MS = 2_000;
const TRIMMED_ROWS = 2;

/** The part of its process that the expiry of keys needs. */
export interface ExpiryHost {
  readonly self: { readonly address: string };
  readonly machine: Machine;
  readonly main: Thread;
  readonly alive: boolean;
  readonly messaging: { commit(write: Write, timeoutMs: number, end: (outcome: PutOutcome) => void): void };
  after(ms: number, action: () => void): () => void;
}

/** The expiry row of a put, as `ExpiryRunner.rowOf`. */
export function expiryRow(key: string, id: string, lifetime: Lifetime): PutItem & { readonly append: object } {
  return { key: EXPIRY_PREFIX + key, append: { id, value: JSON.stringify(lifetime) } };
}

/** The expiry of keys of one process: the real core on the simulated database. */
export class PodExpiry {
  readonly #core: Expiry;
  #token: bigint | undefined;
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly host: ExpiryHost,
    private readonly cluster: Cluster,
  ) {
    this.#core = cluster.parts.expiry(EXPIRY_LIMITS);
  }

  step(input: ExpiryInput): void {
    for (const effect of this.#core.step(input, this.host.machine.now().mono)) this.#perform(effect);
  }

  elected(token: bigint, view: View | undefined): void {
    this.#token = token;
    this.step({ type: 'elected', token });
    if (view !== undefined) this.membersChanged(view);
  }

  /** As `ExpiryRunner.membersChanged`. */
  membersChanged({ epoch, settled, members }: View): void {
    if (epoch !== this.#token) return;
    const heard = members.filter(({ confirmed }) => confirmed);
    this.step({ type: 'members', alive: new Set(heard.map(({ incarnation }) => incarnation)), settled });
  }

  /** As `ExpiryRunner.follow`. */
  settled(puts: readonly Omit<ExpiringVersion, 'timestamp'>[], outcome: PutOutcome): void {
    for (const put of puts) {
      if ('timestamp' in outcome) this.step({ type: 'put', version: { ...put, timestamp: outcome.timestamp } });
      else if (
        outcome instanceof HedgeError &&
        (outcome.code === 'OUTCOME_UNKNOWN' || outcome.details['started'] === true)
      )
        this.step({ type: 'unsettled', key: put.key });
    }
  }

  #perform(effect: ExpiryEffect): void {
    const { database, world } = this.cluster;
    switch (effect.type) {
      case 'list': {
        const { call, after, limit } = effect;
        const live = (): readonly LogEntry[] =>
          database
            .newestIn(EXPIRY_PREFIX)
            .filter(({ key, value }) => value !== '' && (after === undefined || key > EXPIRY_PREFIX + after))
            .slice(0, limit);
        return this.#call(call, undefined, live, (rows) => {
          world.count('expiry: rows listed', rows.length);
          const last = rows.length < limit ? undefined : rows.at(-1)?.key.slice(EXPIRY_PREFIX.length);
          return { type: 'listed', call, versions: rows.map(versionOf), next: last };
        });
      }
      case 'search': {
        const { call, after, limit } = effect;
        const query = { prefix: EXPIRY_PREFIX, keep: 1, tombstonesBefore: 2n ** 62n, limit };
        const search = () =>
          database.trimmable({ ...query, ...(after !== undefined && { after: EXPIRY_PREFIX + after }) });
        return this.#call(call, undefined, search, ({ keys, next }) => ({
          type: 'searched',
          call,
          keys: keys.map((key) => key.slice(EXPIRY_PREFIX.length)),
          next: next?.slice(EXPIRY_PREFIX.length),
        }));
      }
      case 'look': {
        const { call, key } = effect;
        return this.#call(
          call,
          undefined,
          () => database.versions(EXPIRY_PREFIX + key).at(-1),
          (row) => {
            world.count('expiry: a key looked up');
            return {
              type: 'looked',
              call,
              version: row === undefined || row.value === '' ? undefined : versionOf(row),
            };
          },
        );
      }
      case 'delete':
      case 'close': {
        const { type, call, token, version } = effect;
        const row = EXPIRY_PREFIX + version.key;
        return this.#bury(call, token, version, type === 'delete' ? [version.key, row] : [row]);
      }
      case 'trim': {
        const { call, token, key } = effect;
        const trim = { key: EXPIRY_PREFIX + key, keep: 1, tombstonesBefore: 2n ** 62n, limit: TRIMMED_ROWS };
        return this.#call(
          call,
          token,
          () => database.trim(trim),
          (deleted) => {
            world.count('expiry: rows trimmed', deleted);
            return { type: 'trimmed', call, more: deleted === TRIMMED_ROWS };
          },
        );
      }
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.host.after(effect.afterMs, () => this.step({ type: 'tick' }));
    }
  }

  #bury(call: number, token: bigint, { id, timestamp }: ExpiringVersion, keys: readonly string[]): void {
    const items = keys.map((key) => ({
      key,
      append: { id: id + EXPIRED_SUFFIX, value: '' },
      condition: { follows: { id, timestamp } },
    }));
    this.host.messaging.commit({ items, fence: token }, DELETION_MS, (outcome) => {
      if (outcome instanceof HedgeError) return this.step({ type: 'failed', call });
      if ('timestamp' in outcome) return this.step({ type: 'deleted', call, outcome: 'done' });
      const renewed = outcome.refused.some(({ place }) => place === keys.length - 1);
      this.cluster.world.count(renewed ? 'expiry: found renewed' : 'expiry: found replaced');
      this.step({ type: 'deleted', call, outcome: renewed ? 'renewed' : 'replaced' });
    });
  }

  /** @param token of the fence. */
  #call<Result>(
    call: number,
    token: bigint | undefined,
    effect: () => Result,
    done: (result: Result) => ExpiryInput,
  ): void {
    const { connection, database } = this.cluster;
    const fenced = (): Result | HedgeError =>
      token === undefined || database.lease.token === token ? effect() : new HedgeError('LEASE_LOST', 'simulated');
    connection.call(this.host.main, fenced, (outcome) => {
      if (!this.host.alive) return;
      if (outcome.type === 'done' && !(outcome.result instanceof HedgeError)) return this.step(done(outcome.result));
      this.step({ type: 'failed', call });
    });
  }
}

function versionOf({ key, id, timestamp, value }: LogEntry): ExpiringVersion {
  return { key: key.slice(EXPIRY_PREFIX.length), id, timestamp, lifetime: JSON.parse(value) as Lifetime };
}
