import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type JobRun, LeaderCron } from 'nestjs-hedge';
import { IsNull, Repository } from 'typeorm';
import { raiseFence } from './fence.entity.js';
import { Invoice } from './invoice.entity.js';

@Injectable()
export class InvoicesService {
  constructor(@InjectRepository(Invoice) private readonly invoices: Repository<Invoice>) {}

  /** Runs once in the whole group. If its pod is lost during the run, it runs once more (`catchUp`). */
  @LeaderCron('0 3 * * *', { name: 'send invoices', catchUp: true })
  async sendInvoices({ fireTime, fencingToken, signal }: Pick<JobRun, 'fireTime' | 'fencingToken' | 'signal'>) {
    const unsent = await this.invoices.findBy({ sentAt: IsNull() });
    for (const { id } of unsent) {
      signal.throwIfAborted(); // the lease is lost, or the pod stops
      await this.invoices.manager.transaction(async (manager) => {
        await raiseFence(manager, 'invoices', fencingToken);
        // Because of the condition, a second run skips the invoices of the first run.
        await manager.update(Invoice, { id, sentAt: IsNull() }, { sentAt: fireTime.toISOString() });
      });
    }
  }
}
