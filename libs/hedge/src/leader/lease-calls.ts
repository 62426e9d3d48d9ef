import type { LeaseRecord, LeaseTable } from '../backend/lease.js';
import { leaseName } from '../backend/names.js';
import type { Clock } from '../common/clock.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { Timing } from '../common/timing.js';
import type { Transport } from '../transport/transport.js';
import { databaseCall } from './database-call.js';
import type { ElectionCall, ElectionInput } from './election-messages.js';

export interface LeaseCallsOptions {
  readonly leases: LeaseTable;
  readonly transport: Pick<Transport, 'self' | 'dial'>;
  readonly clock: Clock;
  readonly group: string;
  readonly timing: Timing;
  readonly logger: { log(message: string): void; warn(message: string): void };
}

/** The answer to a call. */
export type CallInput = ElectionInput & { readonly attempt: number };

/**
 * Makes the calls that the `Election` core asks for, each within its time. A failure is logged, once until
 * it is over, and told to the core as an absent result.
 */
export class LeaseCalls {
  readonly #lease: string;
  readonly #troubles = new Set<'database' | 'address'>();
  #closed = false;

  constructor(private readonly options: LeaseCallsOptions) {
    this.#lease = leaseName(options.group);
  }

  /** @throws HedgeError what the driver throws, BACKEND_UNAVAILABLE when it does not answer in time */
  read(): Promise<LeaseRecord> {
    return this.#limited(() => this.options.leases.read(this.#lease));
  }

  /** Never rejects. */
  async make(call: ElectionCall): Promise<CallInput> {
    const { attempt } = call;
    const { leases, transport, timing } = this.options;
    const holder = transport.self;
    const claim = { name: this.#lease, holder, leaseMs: timing.leaseMs };
    if (call.type === 'read') {
      return { type: 'read', attempt, record: await this.#told(() => leases.read(this.#lease)) };
    }
    if (call.type === 'acquire') {
      return { type: 'acquired', attempt, result: await this.#told(() => leases.acquire(claim)) };
    }
    if (call.type === 'renew') {
      const lease = { ...claim, token: call.token };
      return { type: 'renewed', attempt, result: await this.#told(() => leases.renew(lease)) };
    }
    if (call.type === 'release') {
      const lease = { name: this.#lease, holder, token: call.token };
      return { type: 'released', attempt, released: await this.#told(() => leases.release(lease)) };
    }
    return { type: 'self-checked', attempt, reached: await this.#reachesItself() };
  }

  /** From here on the database and the links may be closed, so a call that fails is no news. */
  close(): void {
    this.#closed = true;
  }

  #limited<Result>(call: () => Promise<Result>): Promise<Result> {
    return databaseCall(this.options.clock, this.options.timing.backendTimeoutMs, call);
  }

  async #told<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
    try {
      const result = await this.#limited(call);
      this.#report('database', undefined);
      return result;
    } catch (error) {
      this.#report('database', `The lease cannot be read or written, retrying: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** Whether others that dial the advertised address reach this very process. */
  async #reachesItself(): Promise<boolean> {
    const { address, incarnation } = this.options.transport.self;
    try {
      const link = await this.options.transport.dial({ address, incarnation });
      link.close();
      this.#report('address', undefined);
      return true;
    } catch (error) {
      const other = error instanceof HedgeError ? error.details['incarnation'] : undefined;
      const failure =
        other === undefined
          ? `it does not reach itself at its own address ${address}: ${messageOf(error)}. Set \`address\` to what the other pods can dial`
          : `another process answers at its own address ${address}: two pods with one address. Give each pod its own`;
      this.#report('address', `This pod does not campaign: ${failure}`);
      return false;
    }
  }

  /** Logs a trouble when it begins and when it is over, and not its repetitions. */
  #report(topic: 'database' | 'address', trouble: string | undefined): void {
    const { logger } = this.options;
    if (this.#closed || (trouble !== undefined) === this.#troubles.has(topic)) return;
    if (trouble !== undefined) {
      this.#troubles.add(topic);
      logger.warn(trouble);
    } else {
      this.#troubles.delete(topic);
      logger.log(topic === 'database' ? 'The lease can be read again' : 'This pod campaigns again');
    }
  }
}
