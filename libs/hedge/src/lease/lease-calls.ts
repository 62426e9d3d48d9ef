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
 * Makes the calls to the database that a `LeaseContender` asks for, each within its time. A failure is
 * logged, and told to the contender as an absent result.
 */
export class LeaseCalls {
  /** The lease's token when a write of this process failed last. */
  #failedAt = 0n;
  #token = 0n;

  constructor(private readonly options: LeaseCallsOptions) {}

  /** @throws HedgeError what the driver throws, BACKEND_UNAVAILABLE when it does not answer in time */
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
      const lease = { ...claim, token: call.token };
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

  /** A process that need not write, because another leads, learns of the end of a trouble by what that one has written. */
  #observe({ token, holder }: LeaseRecord): void {
    this.#token = token;
    if (holder !== undefined && token > this.#failedAt) this.options.outages.recovered('written');
  }
}
