import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import { HedgeHealthIndicator } from 'nestjs-hedge/health';

@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly hedge: HedgeHealthIndicator,
  ) {}

  /** The process answers. Checks nothing else: a restart of the pod does not repair a database. */
  @Get('healthz')
  live() {
    return { status: 'ok' };
  }

  /** The database is reachable and the members are known, so the pod can serve traffic. */
  @Get('readyz')
  @HealthCheck()
  ready() {
    return this.health.check([() => this.hedge.isHealthy('hedge')]);
  }
}
