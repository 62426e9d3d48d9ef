import { Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import { PrismaPg } from '@prisma/adapter-pg';
import { HedgeModule } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { PrismaClient } from './generated/client.js';
import { InvoicesService } from './invoices.service.js';

const connectionString = process.env['DATABASE_URL'] ?? 'postgres://localhost/invoices';

@Module({
  imports: [
    // In the database of the invoices, so that it can refuse the transactions of a leader that was replaced.
    HedgeModule.forRoot({ group: 'invoices', backend: postgres({ connectionString }) }),
  ],
  providers: [
    { provide: PrismaClient, useFactory: () => new PrismaClient({ adapter: new PrismaPg({ connectionString }) }) },
    InvoicesService,
  ],
})
export class AppModule implements OnApplicationShutdown {
  constructor(@Inject(PrismaClient) private readonly prisma: PrismaClient) {}

  /** Leader work has ended before this hook runs, in any order of the imports. */
  async onApplicationShutdown() {
    await this.prisma.$disconnect();
  }
}
