import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { HedgeModule } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { Invoice } from './invoice.entity.js';
import { InvoicesService } from './invoices.service.js';

const connectionString = process.env['DATABASE_URL'] ?? 'postgres://localhost/invoices';

@Module({
  imports: [
    // TypeORM's pool closes after leader work has ended, in any order of the imports.
    TypeOrmModule.forRoot({ type: 'postgres', url: connectionString, entities: [Invoice] }),
    TypeOrmModule.forFeature([Invoice]),
    // In the database of the invoices, so that it can refuse the transactions of a leader that was replaced.
    HedgeModule.forRoot({ group: 'invoices', backend: postgres({ connectionString }) }),
  ],
  providers: [InvoicesService],
})
export class AppModule {}
