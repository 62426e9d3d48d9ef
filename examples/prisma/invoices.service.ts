import { Injectable } from '@nestjs/common';
import { LeaderCron, type TransactionalJobRun } from 'nestjs-hedge';
import { PrismaClient } from './generated/client.js';

@Injectable()
export class InvoicesService {
  constructor(private readonly prisma: PrismaClient) {}

  /** Each firing commits once. When its pod is lost before the commit, nothing is written, and the next leader runs it. */
  @LeaderCron('0 3 * * *', { name: 'send invoices', transactional: true })
  async sendInvoices({ fireTime, transaction }: TransactionalJobRun) {
    await transaction(this.prisma, async (tx) => {
      await tx.invoice.updateMany({ where: { sentAt: null }, data: { sentAt: fireTime } });
    });
  }
}
