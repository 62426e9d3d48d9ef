import { Injectable, Module } from '@nestjs/common';
import { HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { HedgeReadiness } from '../../pod/readiness.js';

/**
 * Readiness of the pod for `@nestjs/terminus`: up when the backend answered lately, the members are known,
 * and the pod is not stopping. It does not depend on leadership, and waits for no call to the database.
 *
 * For a readiness probe only. A liveness probe on it would restart pods because their database is away.
 *
 * @example
 * \@Get('readyz') \@HealthCheck()
 * ready() { return this.health.check([() => this.hedge.isHealthy('hedge')]); }
 */
@Injectable()
export class HedgeHealthIndicator {
  constructor(
    private readonly indicator: HealthIndicatorService,
    private readonly readiness: HedgeReadiness,
  ) {}

  isHealthy<const Key extends string>(key: Key): HealthIndicatorResult<Key> {
    const { ready, ...facts } = this.readiness.check();
    const session = this.indicator.check(key);
    return ready ? session.up(facts) : session.down(facts);
  }
}

/**
 * Provides `HedgeHealthIndicator` to the module that imports it, beside `HedgeModule` in the app's root. When
 * `HedgeModule` has `isGlobal: false`, list `HedgeHealthIndicator` in the providers of a module that imports
 * `HedgeModule` and `TerminusModule` instead.
 */
@Module({ imports: [TerminusModule], providers: [HedgeHealthIndicator], exports: [HedgeHealthIndicator] })
export class HedgeHealthModule {}
