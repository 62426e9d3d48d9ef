import { Module } from '@nestjs/common';
import { HedgeModule } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';

// #region module
@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'orders',
      backend: postgres({ connectionString: process.env['DATABASE_URL'] ?? '' }),
      renewal: 'worker',
      maxStallMs: 30_000, // default: two leases, so 16 s
    }),
  ],
})
export class AppModule {}
// #endregion
