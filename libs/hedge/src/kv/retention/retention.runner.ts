import { outsideContext } from '../../common/async/async-context.js';
import type { Clock } from '../../common/clock.js';
import { codeOf, HedgeError, messageOf } from '../../common/errors.js';
import type { LogTable, LogTrim } from '../../database/log-table.js';
import { bytesPayload, type RequestHandler } from '../../messaging/message.js';
import type { RequestType } from '../../messaging/request-type.js';
import { type Metrics, NO_METRICS } from '../../telemetry/metrics.js';
import { RequestKind } from '../../wire/hedge/v1/link.js';
import {
  Retention,
  type CompactOutcome,
  type RetentionEffect,
  type RetentionInput,
  type RetentionLimits,
  type RetentionRule,
} from './retention.core.js';

export interface RetentionRunnerOptions {
  readonly log: Pick<LogTable, 'keys' | 'overwrite' | 'trim' | 'trimmable'>;
  readonly clock: Clock;
  /** Row name of the election lease, whose token fences all writes. */
  readonly lease: string;
  /** Key of the own row of the group. */
  readonly key: string;
  /** Returns the advertised address of this pod. */
  readonly address: () => string;
  readonly rules: readonly RetentionRule[];
  readonly limits?: RetentionLimits | undefined;
  readonly logger: { warn(message: string): void };
  readonly metrics?: Metrics | undefined;
}

interface PendingCompaction {
  resolve(deleted: number): void;
  reject(error: unknown): void;
}

/** Runs `Retention` on the leader. Without rules it does nothing. */
export class RetentionRunner {
  readonly #pending = new Map<number, PendingCompaction>();
  #tickets = 0;
  #stopTimer: () => void = () => undefined;
  /** A sweep has failed, and that was logged. */
  #failing = false;

  constructor(
    private readonly options: RetentionRunnerOptions,
    private readonly core = new Retention(options.rules, options.limits),
  ) {}

  elected(token: bigint): void {
    const { rules, logger } = this.options;
    if (rules.length === 0) return;
    if (!this.#canDelete) {
      return logger.warn(
        'The driver of the database cannot delete old versions, so kv.retention has no effect. Update the driver, or remove kv.retention',
      );
    }
    this.#step({ type: 'elected', token });
  }

  ended(): void {
    this.#stopTimer();
    this.#step({ type: 'ended' });
  }

  /**
   * Resolves with the number of deleted versions when a whole sweep has ended.
   * @throws HedgeError INVALID_ARGUMENT without rules, or when the driver cannot delete; NOT_LEADER; the error of the driver.
   */
  compact(): Promise<number> {
    if (!this.#canDelete) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        'compact deleted nothing: the driver of the database cannot delete old versions. Update the driver.',
      );
    }
    if (this.options.rules.length === 0) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        'compact deleted nothing: the leader has no kv.retention. Set the option on all pods.',
      );
    }
    return new Promise((resolve, reject) => {
      const ticket = (this.#tickets += 1);
      this.#pending.set(ticket, { resolve, reject });
      this.#step({ type: 'compact', ticket });
    });
  }

  get #canDelete(): boolean {
    const { log } = this.options;
    return log.trim !== undefined && log.trimmable !== undefined;
  }

  #step(input: RetentionInput): void {
    for (const effect of this.core.step(input, this.options.clock.now().mono)) this.#perform(effect);
  }

  #perform(effect: RetentionEffect): void {
    const { log, lease, key, address } = this.options;
    switch (effect.type) {
      case 'mark': {
        const { call, token } = effect;
        const row = { key, value: new Date().toISOString(), leader: address() };
        return this.#call(
          call,
          () => log.overwrite(row, { lease, token }),
          ({ timestamp }) => ({ type: 'marked', call, timestamp }),
        );
      }
      case 'search': {
        const { call, prefix, after, limit, bounds } = effect;
        const query = { ...bounds, prefix, limit, ...(after !== undefined && { after }) };
        return this.#call(
          call,
          () => log.trimmable!(query),
          (page) => ({ type: 'found', call, page }),
        );
      }
      case 'skip': {
        const { call, prefix, after } = effect;
        const query = { prefix, limit: 1, ...(after !== undefined && { after }) };
        return this.#call(
          call,
          () => log.keys(query),
          ([next]) => ({ type: 'found', call, page: { keys: [], next } }),
        );
      }
      case 'trim': {
        const { call, token, prefix, key: trimmed, limit, bounds } = effect;
        const trim: LogTrim = { ...bounds, key: trimmed, limit, record: { prefix, leader: address() } };
        return this.#call(
          call,
          () => log.trim!(trim, { lease, token }),
          (deleted) => ({ type: 'trimmed', call, deleted }),
        );
      }
      case 'wake':
        this.#stopTimer();
        this.#stopTimer = this.options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'swept':
        return this.#swept(effect);
      case 'settle':
        return this.#settle(effect.ticket, effect.outcome);
    }
  }

  #call<Result>(call: number, run: () => Promise<Result>, done: (result: Result) => RetentionInput): void {
    const succeeded = (result: Result): void => this.#step(done(result));
    const failed = (error: unknown): void => this.#step({ type: 'failed', call, error });
    // Also a call for `compact` belongs to the trace of none.
    outsideContext(() => void run().then(succeeded, failed));
  }

  #swept({ deleted, ms, error }: Extract<RetentionEffect, { readonly type: 'swept' }>): void {
    const { logger, metrics = NO_METRICS } = this.options;
    const outcome = error === undefined ? 'OK' : codeOf(error);
    metrics.add('hedge.kv.retention.deleted', {}, deleted);
    metrics.record('hedge.kv.retention.sweep.duration', ms / 1_000, { outcome });
    // The next leader goes on.
    if (outcome === 'LEASE_LOST') return;
    if (error !== undefined && !this.#failing) {
      logger.warn(`kv.retention could not delete old versions, and tries again every minute: ${messageOf(error)}`);
    }
    this.#failing = error !== undefined;
  }

  #settle(ticket: number, outcome: CompactOutcome): void {
    const pending = this.#pending.get(ticket);
    this.#pending.delete(ticket);
    if (outcome === 'ended') pending?.reject(notLeading());
    else if ('error' in outcome) pending?.reject(outcome.error);
    else pending?.resolve(outcome.deleted);
  }
}

function notLeading(): HedgeError {
  return new HedgeError('NOT_LEADER', 'compact ended early: this pod no longer leads. Ask the new leader again.');
}

/** Asks the leader for a sweep. The reply is the number of deleted versions as digits. */
export const KV_COMPACT: RequestType = {
  kind: RequestKind.REQUEST_KIND_KV_COMPACT,
  name: 'compact',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: 'compactions',
  mayUseReserve: false,
};

/** Serves `KvStore.compact` on the leader. */
export function kvCompactHandler(retention: RetentionRunner): RequestHandler {
  return async () => bytesPayload(Buffer.from(String(await retention.compact())));
}
