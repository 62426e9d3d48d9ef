import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { HedgeModule } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true }),
    // #region prefer-newest
    HedgeModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        group: 'orders',
        backend: postgres({ connectionString: config.getOrThrow('DATABASE_URL') }),
        preferNewest: { appVersion: config.getOrThrow('APP_VERSION') }, // '1.4.2', or the number of the CI run
      }),
    }),
    // #endregion
  ],
})
export class RolloutAppModule {}
