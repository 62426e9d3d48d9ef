import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LeaderCron, type TransactionalJobRun } from 'nestjs-hedge';
import { IsNull, Repository } from 'typeorm';
import { Invoice } from './invoice.entity.js';

@Injectable()
export class InvoicesService {
  constructor(@InjectRepository(Invoice) private readonly invoices: Repository<Invoice>) {}

  /** Each firing commits once. When its pod is lost before the commit, nothing is written, and the next leader runs it. */
  @LeaderCron('0 3 * * *', { name: 'send invoices', transactional: true })
  async sendInvoices({ fireTime, transaction }: TransactionalJobRun) {
    await transaction(this.invoices.manager, async (manager) => {
      await manager.update(Invoice, { sentAt: IsNull() }, { sentAt: fireTime.toISOString() });
    });
  }
}
