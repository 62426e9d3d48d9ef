import { Controller, Module, VersioningType } from '@nestjs/common';
import type { DynamicModule, INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { HedgeModule, LeaderCron, OnBroadcast, OnLeaderMessage, type HedgeOptions } from 'nestjs-hedge';
import { HedgeDashboardModule, type HedgeDashboardOptions } from 'nestjs-hedge/dashboard';
import { Pods } from './apps.js';

@Controller()
class Handlers {
  @OnLeaderMessage('price')
  price(): void {}

  @OnLeaderMessage('refund')
  refund(): void {
    throw new Error('refunds are closed');
  }

  @OnBroadcast('flush <img src=x onerror=alert(1)>')
  flush(): void {}

  @LeaderCron('0 3 1 1 *', { name: 'yearly report' })
  report(): void {}

  @LeaderCron('0 4 1 1 *', { name: 'failing report' })
  failing(): void {
    throw new Error('the warehouse is closed <b>today</b>');
  }
}

export const ADAPTERS = {
  Express: () => new ExpressAdapter(),
  Fastify: () => new FastifyAdapter(),
};

/** Web apps of this process as pods of one group, each with the dashboard. */
export class DashboardPods extends Pods {
  readonly web: INestApplication[] = [];

  constructor(options: Partial<HedgeOptions> = {}) {
    super({}, options);
  }

  async serve(
    adapter: keyof typeof ADAPTERS,
    dashboard: HedgeDashboardOptions | DynamicModule = {},
    configure: (app: INestApplication) => void = () => undefined,
  ): Promise<string> {
    @Module({
      imports: [
        HedgeModule.forRoot(this.pod()),
        'module' in dashboard ? dashboard : HedgeDashboardModule.forRoot(dashboard),
      ],
      controllers: [Handlers],
    })
    class PodModule {}
    const app = await NestFactory.create(PodModule, ADAPTERS[adapter](), { logger: false, abortOnError: false });
    this.apps.push(app);
    this.web.push(app);
    configure(app);
    await app.listen(0, '127.0.0.1');
    return app.getUrl();
  }
}

/** A global prefix and versions, as many apps have them. */
export function prefixed(app: INestApplication): void {
  app.setGlobalPrefix('ops');
  app.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
}
