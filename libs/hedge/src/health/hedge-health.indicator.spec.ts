import { HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { Global, Logger, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from '@jest/globals';
import { HedgeReadiness } from '../module/readiness.js';
import { HedgeHealthIndicator } from './hedge-health.indicator.js';
import { HedgeHealthModule } from './hedge-health.module.js';

Logger.overrideLogger(false);

const ready = { backendReachable: true, viewSettled: true, stopping: false };

async function checkWith(facts: typeof ready): Promise<unknown> {
  @Global()
  @Module({
    providers: [{ provide: HedgeReadiness, useValue: new HedgeReadiness(() => facts) }],
    exports: [HedgeReadiness],
  })
  class Readiness {}
  const app = await Test.createTestingModule({ imports: [Readiness, HedgeHealthModule, TerminusModule] }).compile();
  const indicator = app.get(HedgeHealthIndicator);
  return app.get(HealthCheckService).check([() => indicator.isHealthy('hedge')]);
}

describe('health indicator', () => {
  it('is up when the backend is reachable and the view settled', async () => {
    expect(await checkWith(ready)).toMatchObject({ status: 'ok', info: { hedge: { status: 'up', ...ready } } });
  });

  it.each([
    ['the backend is away', { ...ready, backendReachable: false }],
    ['the members are not known', { ...ready, viewSettled: false }],
    ['the pod stops', { ...ready, stopping: true }],
  ])('is down when %s, and says so', async (_, facts) => {
    await expect(checkWith(facts)).rejects.toMatchObject({
      response: { status: 'error', error: { hedge: { status: 'down', ...facts } } },
    });
  });
});
