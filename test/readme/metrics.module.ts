import { Module } from '@nestjs/common';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';
import { HedgeModule } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { HedgePrometheusModule } from 'nestjs-hedge/prometheus';

const connectionString = process.env['DATABASE_URL'] ?? '';

// #region prometheus
@Module({
  imports: [
    HedgeModule.forRoot({ group: 'orders', backend: postgres({ connectionString }) }),
    PrometheusModule.register(), // serves /metrics
    HedgePrometheusModule.forRoot(),
  ],
})
export class AppModule {}
// #endregion

// #region labels
HedgeModule.forRoot({
  group: 'orders',
  backend: postgres({ connectionString }),
  metrics: { labels: ['topic', 'semaphore'] }, // or 'lock'
});
// #endregion
