import { Injectable } from '@nestjs/common';
import { type JobRun, LeaderCron } from 'nestjs-hedge';
import { PrismaClient } from './client.js';
import { raiseFence } from './fence.js';

@Injectable()
export class InvoicesService {
  constructor(private readonly prisma: PrismaClient) {}

  /** Runs once in the whole group. If its pod is lost during the run, it runs once more (`catchUp`). */
  @LeaderCron('0 3 * * *', { name: 'send invoices', catchUp: true })
  async sendInvoices({ fireTime, fencingToken, signal }: Pick<JobRun, 'fireTime' | 'fencingToken' | 'signal'>) {
    for (const { id } of await this.prisma.invoice.findMany({ where: { sentAt: null } })) {
      signal.throwIfAborted(); // the lease is lost, or the pod stops
      await this.prisma.$transaction(async (tx) => {
        await raiseFence(tx, 'invoices', fencingToken);
        // Because of the condition, a second run skips the invoices of the first run.
        await tx.invoice.updateMany({ where: { id, sentAt: null }, data: { sentAt: fireTime } });
      });
    }
  }
}
