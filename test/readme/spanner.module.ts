import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { HedgeModule } from 'nestjs-hedge';
import { spanner } from 'nestjs-hedge/spanner';
import { OrdersController } from './orders.controller.js';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true }),
    // #region spanner
    HedgeModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        group: 'orders',
        address: config.get('HEDGE_ADDRESS', ':7400'),
        backend: spanner({
          database: config.getOrThrow('SPANNER_DATABASE'), // projects/PROJECT/instances/INSTANCE/databases/DATABASE
          lockTable: 'locktable',
          logTable: 'logtable',
        }),
      }),
    }),
    // #endregion
  ],
  controllers: [OrdersController],
})
export class SpannerAppModule {}
