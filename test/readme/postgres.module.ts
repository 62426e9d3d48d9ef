import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { Pool } from 'pg';
import { HedgeModule, type HedgeOptions } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { OrdersController } from './orders.controller.js';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true }),
    // #region postgres
    HedgeModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        group: 'orders',
        address: config.get('HEDGE_ADDRESS', ':7400'),
        backend: postgres({ connectionString: config.getOrThrow('DATABASE_URL') }),
      }),
    }),
    // #endregion
  ],
  controllers: [OrdersController],
})
export class PostgresAppModule {}

export function lentPool(pool: Pool): HedgeOptions['backend'] {
  // #region pool
  return postgres({ pool }); // a pg.Pool of your own
  // #endregion
}
