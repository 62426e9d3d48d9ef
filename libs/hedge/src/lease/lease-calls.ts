import type { LeaseRecord, LeaseTable } from '../backend/lease.js';
import type { Clock } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import type { ContenderInput, DatabaseCall } from './contender-messages.js';
import { databaseCall } from './database-call.js';
import type { TroubleLog } from './trouble-log.js';

export interface LeaseCallsOptions {
  /** Row name of the lease. */
  readonly name: string;
  readonly leases: LeaseTable;
  readonly clock: Clock;
  readonly timing: Pick<Timing, 'leaseMs' | 'backendTimeoutMs'>;
  readonly troubles: TroubleLog;
}

/** The answer to a call. */
export type CallInput = ContenderInput & { readonly attempt: number };

/**
 * Makes the calls to the database that a `LeaseContender` asks for, each within its time. A failure is
 * logged, and told to the contender as an absent result.
 */
export class LeaseCalls {
  constructor(private readonly options: LeaseCallsOptions) {}

  /** @throws HedgeError what the driver throws, BACKEND_UNAVAILABLE when it does not answer in time */
  read(): Promise<LeaseRecord> {
    return this.#limited(() => this.options.leases.read(this.options.name));
  }

  /** Never rejects. */
  async make(call: DatabaseCall, holder: MemberId): Promise<CallInput> {
    const { attempt } = call;
    const { leases, timing, name } = this.options;
    const claim = { name, holder, leaseMs: timing.leaseMs };
    if (call.type === 'read') {
      return { type: 'read', attempt, record: await this.#told(() => leases.read(name)) };
    }
    if (call.type === 'acquire') {
      return { type: 'acquired', attempt, result: await this.#told(() => leases.acquire(claim)) };
    }
    if (call.type === 'renew') {
      const lease = { ...claim, token: call.token };
      return { type: 'renewed', attempt, result: await this.#told(() => leases.renew(lease)) };
    }
    const lease = { name, holder, token: call.token };
    return { type: 'released', attempt, released: await this.#told(() => leases.release(lease)) };
  }

  #limited<Result>(call: () => Promise<Result>): Promise<Result> {
    return databaseCall(this.options.clock, this.options.timing.backendTimeoutMs, call);
  }

  #told<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
    return this.options.troubles.watch(() => this.#limited(call));
  }
}
