import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { APP_FILTER } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { HedgeModule } from 'nestjs-hedge';
import { HedgeDashboardModule } from 'nestjs-hedge/dashboard';
import { HedgeHealthModule } from 'nestjs-hedge/health';
import { BlockController } from './block.controller.js';
import { ClusterController } from './cluster.controller.js';
import { ExclusionController } from './exclusion.controller.js';
import { HealthController } from './health.controller.js';
import { HedgeErrorFilter } from './hedge-error.filter.js';
import { hedgeOptions } from './hedge.options.js';
import { JobsController } from './jobs.controller.js';
import { MessagesController } from './messages.controller.js';
import { SpillController } from './spill.controller.js';
import { StorageController } from './storage.controller.js';
import { StreamsController } from './streams.controller.js';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true }),
    TerminusModule,
    HedgeHealthModule,
    HedgeModule.forRootAsync({ inject: [ConfigService], useFactory: hedgeOptions }),
    // Everybody who reaches this sample may act. An app gives guards.
    HedgeDashboardModule.forRoot({ path: 'hedge', guards: [], actions: true }),
  ],
  controllers: [
    StorageController,
    MessagesController,
    StreamsController,
    ExclusionController,
    JobsController,
    SpillController,
    BlockController,
    ClusterController,
    HealthController,
  ],
  providers: [{ provide: APP_FILTER, useClass: HedgeErrorFilter }],
})
export class AppModule {}
