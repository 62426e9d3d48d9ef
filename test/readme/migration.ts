import { Injectable } from '@nestjs/common';
import { type JobRun, LeaderCron, LeaderInterval, type Leadership, LockService, WhileLeader } from 'nestjs-hedge';

declare function chargeCard(order: string, options: { fencingToken: bigint; signal: AbortSignal }): Promise<void>;
declare function transfer(from: string, to: string, options: { signal: AbortSignal }): Promise<void>;

// #region redlock
@Injectable()
export class PaymentsService {
  constructor(private readonly locks: LockService) {}

  async charge(order: string) {
    await this.locks.use(`orders/${order}`, { timeoutMs: 2_000 }, async ({ signal, fencingToken }) => {
      await chargeCard(order, { signal, fencingToken }); // renewed for as long as this runs
    });
  }

  /** Two resources: always in one order, so that two callers never wait for each other. */
  async move(from: string, to: string) {
    const [first = from, second = to] = [from, to].sort();
    await using outer = await this.locks.acquire(`accounts/${first}`);
    await using inner = await this.locks.acquire(`accounts/${second}`);
    await transfer(from, to, { signal: AbortSignal.any([outer.signal, inner.signal]) });
  }
}
// #endregion

declare function cleanUp(signal: AbortSignal): Promise<void>;
declare function loadCatalogue(signal: AbortSignal): Promise<void>;
declare function sendDigest(day: Date, signal: AbortSignal): Promise<void>;

// #region schedule
@Injectable()
export class TasksService {
  @LeaderCron('0 7 * * 1-5', { name: 'digest', timeZone: 'Europe/Berlin', catchUp: true }) // was @Cron
  digest({ fireTime, signal }: JobRun) {
    return sendDigest(fireTime, signal);
  }

  @LeaderInterval(60_000, { name: 'clean up' }) // was @Interval
  cleanUp({ signal }: JobRun) {
    return cleanUp(signal);
  }

  @WhileLeader() // was @Timeout: once after the start, now once for each term
  async warmUp({ signal }: Leadership) {
    await loadCatalogue(signal);
  }
}
// #endregion
