import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { HedgeModule } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { OrdersController } from './orders.controller.js';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true }),
    HedgeModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        group: 'orders',
        address: config.get('HEDGE_ADDRESS', ':7400'),
        backend: sqlite({ file: config.getOrThrow('HEDGE_SQLITE_FILE') }),
      }),
    }),
  ],
  controllers: [OrdersController],
})
export class AppModule {}
