import { HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { Global, Logger, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from '@jest/globals';
import { HedgeReadiness } from '../../pod/readiness.js';
import { HedgeHealthIndicator } from './index.js';
import { HedgeHealthModule } from './index.js';

Logger.overrideLogger(false);

const GRACE_MS = 5_000;
const stalls = { count: 1, longestMs: 900, totalMs: 900, lost: 0 };
const good = { backendReachable: true, unsettledForMs: 0, stopping: false, stalls };

async function checkWith(facts: typeof good): Promise<unknown> {
  @Global()
  @Module({
    providers: [{ provide: HedgeReadiness, useValue: new HedgeReadiness(() => facts, GRACE_MS) }],
    exports: [HedgeReadiness],
  })
  class Readiness {}
  const app = await Test.createTestingModule({ imports: [Readiness, HedgeHealthModule, TerminusModule] }).compile();
  const indicator = app.get(HedgeHealthIndicator);
  return app.get(HealthCheckService).check([() => indicator.isHealthy('hedge')]);
}

describe('health indicator', () => {
  it('is up when the backend is reachable and the view settled', async () => {
    const facts = { backendReachable: true, viewSettled: true, stopping: false, stalls };
    expect(await checkWith(good)).toMatchObject({ status: 'ok', info: { hedge: { status: 'up', ...facts } } });
  });

  it('stays up while a new leader settles the view, and says that', async () => {
    expect(await checkWith({ ...good, unsettledForMs: GRACE_MS })).toMatchObject({
      info: { hedge: { status: 'up', viewSettled: false } },
    });
  });

  it.each([
    ['the backend is away', { ...good, backendReachable: false }, { backendReachable: false }],
    ['the members were never known', { ...good, unsettledForMs: Infinity }, { viewSettled: false }],
    ['no leader settled the view', { ...good, unsettledForMs: GRACE_MS + 1 }, { viewSettled: false }],
    ['the pod stops', { ...good, stopping: true }, { stopping: true }],
  ])('is down when %s, and says so', async (_, facts, said) => {
    await expect(checkWith(facts)).rejects.toMatchObject({
      response: { status: 'error', error: { hedge: { status: 'down', ...said } } },
    });
  });
});
