import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type {
  Retention,
  RetentionEffect,
  RetentionInput,
  RetentionLimits,
  RetentionRule,
} from '../../libs/hedge/src/kv/retention/retention.core.js';
import type { Cluster } from './cluster.js';
import type { Machine, Thread } from './machine.js';

/**
 * An append of this simulation may take effect 12.7 s after its put: 4 s by a slow clock, and the time for which a machine is
 * cut off from the database. The clock of the leader may be fast.
 */
export const RETENTION_LIMITS: RetentionLimits = { everyMs: 700, leastAgeMs: 13_500, keys: 2, rows: 2, pauseMs: 5 };

export const RETENTION_RULES: readonly RetentionRule[] = [
  { prefix: 'a', versions: 2 },
  { prefix: '', versions: 1 },
];

/** The part of its process that retention needs. */
export interface RetentionHost {
  readonly self: { readonly address: string };
  readonly machine: Machine;
  readonly main: Thread;
  readonly alive: boolean;
  after(ms: number, action: () => void): () => void;
}

/** The retention of one process: the real core on the simulated database. */
export class PodRetention {
  readonly #core: Retention;
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly host: RetentionHost,
    private readonly cluster: Cluster,
  ) {
    this.#core = cluster.parts.retention(RETENTION_RULES, RETENTION_LIMITS);
  }

  step(input: RetentionInput): void {
    for (const effect of this.#core.step(input, this.host.machine.now().mono)) this.#perform(effect);
  }

  #perform(effect: RetentionEffect): void {
    const { database, world } = this.cluster;
    switch (effect.type) {
      case 'mark': {
        const { call } = effect;
        return this.#call(
          call,
          effect.token,
          () => database.commitTime(),
          (timestamp) => ({
            type: 'marked',
            call,
            timestamp,
          }),
        );
      }
      case 'search': {
        const { call, prefix, after, limit, bounds } = effect;
        const query = { ...bounds, prefix, limit, ...(after !== undefined && { after }) };
        return this.#call(
          call,
          undefined,
          () => database.trimmable(query),
          (page) => ({ type: 'found', call, page }),
        );
      }
      case 'trim': {
        const { call, token, prefix, key, limit, bounds } = effect;
        const record = { prefix, leader: this.host.self.address };
        return this.#call(
          call,
          token,
          () => database.trim({ ...bounds, key, limit, record }),
          (deleted) => ({
            type: 'trimmed',
            call,
            deleted,
          }),
        );
      }
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.host.after(effect.afterMs, () => this.step({ type: 'tick' }));
        return;
      case 'swept':
        return world.count(effect.deleted > 0 ? 'retention: deleted versions' : 'retention: deleted nothing');
      case 'settle':
    }
  }

  /** @param token of the fence. */
  #call<Result>(
    call: number,
    token: bigint | undefined,
    effect: () => Result,
    done: (result: Result) => RetentionInput,
  ): void {
    const { connection, database } = this.cluster;
    const fenced = (): Result | HedgeError =>
      token === undefined || database.lease.token === token ? effect() : new HedgeError('LEASE_LOST', 'simulated');
    connection.call(this.host.main, fenced, (outcome) => {
      if (!this.host.alive) return;
      if (outcome.type === 'done' && !(outcome.result instanceof HedgeError)) return this.step(done(outcome.result));
      this.step({ type: 'failed', call, error: new HedgeError('BACKEND_UNAVAILABLE', 'simulated') });
    });
  }
}
