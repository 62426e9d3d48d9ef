import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { HedgeModule } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { Fence } from './fence.entity.js';
import { Invoice } from './invoice.entity.js';
import { InvoicesService } from './invoices.service.js';

@Module({
  imports: [
    // TypeORM's pool closes after leader work has ended, in any order of the imports.
    TypeOrmModule.forRoot({
      type: 'postgres',
      url: process.env['DATABASE_URL'] ?? 'postgres://localhost/invoices',
      entities: [Fence, Invoice],
    }),
    TypeOrmModule.forFeature([Invoice]),
    HedgeModule.forRoot({
      group: 'invoices',
      backend: sqlite({ file: '/data/hedge.db' }), // or spanner({ database }), for pods on several machines
    }),
  ],
  providers: [InvoicesService],
})
export class AppModule {}
