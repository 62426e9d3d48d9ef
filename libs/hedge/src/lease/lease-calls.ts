import type { LeaseRecord, LeaseTable } from '../database/lease-table.js';
import type { Clock } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import type { ContenderInput, DatabaseCall } from './lease-contender.messages.js';
import { databaseCall } from './database-call.js';
import type { OutageLogger } from './outage-logger.js';

export interface LeaseCallsOptions {
  /** Row name of the lease. */
  readonly name: string;
  readonly leases: LeaseTable;
  readonly clock: Clock;
  readonly timing: Pick<Timing, 'leaseMs' | 'backendTimeoutMs'>;
  readonly outages: OutageLogger;
}

/** The answer to a call. */
export type CallInput = ContenderInput & { readonly attempt: number };

/**
 * Performs the database calls of a `LeaseContender`, each with a deadline. A failure is logged, and the contender
 * receives an absent result.
 */
export class LeaseCalls {
  /** The token of the lease when a write of this process last failed. */
  #failedAt = 0n;
  #token = 0n;

  constructor(private readonly options: LeaseCallsOptions) {}

  /** @throws HedgeError of the driver; BACKEND_UNAVAILABLE when it does not answer in time */
  read(): Promise<LeaseRecord> {
    return this.#withinTime(() => this.options.leases.read(this.options.name));
  }

  /** Never rejects. */
  async perform(call: DatabaseCall, holder: MemberId): Promise<CallInput> {
    const { attempt } = call;
    const { leases, timing, name } = this.options;
    const claim = { name, holder, leaseMs: timing.leaseMs };
    if (call.type === 'read') {
      const record = await this.#watched(() => leases.read(name), 'read');
      if (record !== undefined) this.#observe(record);
      return { type: 'read', attempt, record };
    }
    if (call.type === 'acquire') {
      return { type: 'acquired', attempt, result: await this.#watched(() => leases.acquire(claim), 'written') };
    }
    if (call.type === 'renew') {
      const lease = { ...claim, token: call.token, renewals: BigInt(attempt) };
      return { type: 'renewed', attempt, result: await this.#watched(() => leases.renew(lease), 'written') };
    }
    const lease = { name, holder, token: call.token };
    return { type: 'released', attempt, released: await this.#watched(() => leases.release(lease), 'written') };
  }

  #withinTime<Result>(call: () => Promise<Result>): Promise<Result> {
    return databaseCall(this.options.clock, this.options.timing.backendTimeoutMs, call);
  }

  async #watched<Result>(call: () => Promise<Result>, kind: 'read' | 'written'): Promise<Result | undefined> {
    const { outages } = this.options;
    const result = await outages.watch(() => this.#withinTime(call), kind);
    if (kind === 'written' && result === undefined) this.#failedAt = this.#token;
    return result;
  }

  /**
   * A follower does not write, so its own calls cannot show that writes work again. A later write of the holder shows
   * it.
   */
  #observe({ token, holder }: LeaseRecord): void {
    this.#token = token;
    if (holder !== undefined && token > this.#failedAt) this.options.outages.recovered('written');
  }
}
