import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import { HedgeHealthIndicator } from 'nestjs-hedge/health';

@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly hedge: HedgeHealthIndicator,
  ) {}

  /** The process answers. Nothing else belongs here: restarting a pod does not repair a database. */
  @Get('healthz')
  live() {
    return { status: 'ok' };
  }

  /** The database is reachable and the members are known: traffic may come. */
  @Get('readyz')
  @HealthCheck()
  ready() {
    return this.health.check([() => this.hedge.isHealthy('hedge')]);
  }
}
