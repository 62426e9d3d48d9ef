import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import { HedgeHealthIndicator } from 'nestjs-hedge/health';

// #region health
@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly hedge: HedgeHealthIndicator,
  ) {}

  @Get('readyz')
  @HealthCheck()
  ready() {
    return this.health.check([() => this.hedge.isHealthy('hedge')]);
  }
}
// #endregion
