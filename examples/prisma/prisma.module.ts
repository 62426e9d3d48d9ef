import { Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import { HedgeModule } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { PrismaClient } from './client.js';
import { InvoicesService } from './invoices.service.js';

/** The application passes the factory, for example `() => new PrismaClient({ adapter })`. */
export function createAppModule(createClient: () => PrismaClient) {
  @Module({
    imports: [HedgeModule.forRoot({ group: 'invoices', backend: sqlite({ file: '/data/hedge.db' }) })],
    providers: [{ provide: PrismaClient, useFactory: createClient }, InvoicesService],
  })
  class AppModule implements OnApplicationShutdown {
    constructor(@Inject(PrismaClient) private readonly prisma: PrismaClient) {}

    /** Leader work has ended before this hook runs, in any order of the imports. */
    async onApplicationShutdown() {
      await this.prisma.$disconnect();
    }
  }
  return AppModule;
}
