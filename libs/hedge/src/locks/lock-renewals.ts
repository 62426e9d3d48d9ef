import { MOST_RENEWALS, type LeaseTable, type Renewal, type RenewResult } from '../database/lease-table.js';
import type { Clock, Instant } from '../common/clock.js';
import { databaseCall } from '../lease/database-call.js';
import type { OutageLogger } from '../lease/outage-logger.js';
import { outcomeOf, renewalMargin, reportRenewal } from '../lease/renewal/report-renewal.js';
import type { Timing } from '../common/timing.js';
import type { Metrics } from '../telemetry/metrics.js';

export interface LockRenewalsOptions {
  readonly leases: Pick<LeaseTable, 'renewAll'>;
  readonly clock: Clock;
  readonly timing: Pick<Timing, 'backendTimeoutMs' | 'renewDeadlineMs'>;
  readonly outages: OutageLogger;
  readonly metrics: Metrics;
}

interface PendingRenewal {
  readonly renewal: Renewal;
  /** The start of the last acknowledged acquisition or renewal. */
  readonly validSince: Instant;
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
  add(pending: PendingRenewal): void {
    this.#pending.push(pending);
  }

  flush(): void {
    while (this.#pending.length > 0) void this.#renew(this.#pending.splice(0, MOST_RENEWALS));
  }

  async #renew(asked: readonly PendingRenewal[]): Promise<void> {
    const { leases, clock, timing, outages, metrics } = this.options;
    const start = clock.now();
    const renewals = asked.map(({ renewal }) => renewal);
    let failure: string | undefined;
    const call = () => databaseCall(clock, timing.backendTimeoutMs, () => leases.renewAll(renewals));
    const results = await outages.watch(call, 'written', (message) => void (failure = message));
    const now = clock.now();
    const margins = asked.flatMap(({ validSince }, index) =>
      results?.[index]?.renewed === true ? [renewalMargin(timing, validSince, now)] : [],
    );
    const outcome = outcomeOf(results ?? [undefined]);
    reportRenewal(metrics, { lease: 'locks', ms: now.mono - start.mono, outcome, margins });
    this.batch(() => asked.forEach(({ answer }, index) => answer(results?.[index], failure)));
  }
}
