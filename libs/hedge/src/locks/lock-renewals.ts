import { MOST_RENEWALS, type LeaseTable, type Renewal, type RenewResult } from '../database/lease-table.js';
import type { Clock } from '../common/clock.js';
import { databaseCall } from '../lease/database-call.js';
import type { OutageLogger } from '../lease/outage-logger.js';

export interface LockRenewalsOptions {
  readonly leases: Pick<LeaseTable, 'renewAll'>;
  readonly clock: Clock;
  readonly backendTimeoutMs: number;
  readonly outages: OutageLogger;
}

interface PendingRenewal {
  readonly renewal: Renewal;
  /** Without a result the renewal failed with that message. */
  readonly answer: (result: RenewResult | undefined, failure: string | undefined) => void;
}

/** Renews all locks that are due at the same time in one transaction, or in a few. */
export class LockRenewals {
  #pending: PendingRenewal[] = [];

  /** @param batch runs all answers of one transaction as one batch of inputs */
  constructor(
    private readonly options: LockRenewalsOptions,
    private readonly batch: (answerAll: () => void) => void,
  ) {}

  /** Renews with the next `flush`. Without a result in the answer, the renewal failed and its effect is unknown. */
  add(renewal: Renewal, answer: PendingRenewal['answer']): void {
    this.#pending.push({ renewal, answer });
  }

  flush(): void {
    while (this.#pending.length > 0) void this.#renew(this.#pending.splice(0, MOST_RENEWALS));
  }

  async #renew(asked: readonly PendingRenewal[]): Promise<void> {
    const { leases, clock, backendTimeoutMs, outages } = this.options;
    const renewals = asked.map(({ renewal }) => renewal);
    let failure: string | undefined;
    const call = () => databaseCall(clock, backendTimeoutMs, () => leases.renewAll(renewals));
    const results = await outages.watch(call, 'written', (message) => void (failure = message));
    this.batch(() => asked.forEach(({ answer }, index) => answer(results?.[index], failure)));
  }
}
