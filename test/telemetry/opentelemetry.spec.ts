import { Logger } from '@nestjs/common';
import { metrics } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { afterEach, describe, expect, it } from '@jest/globals';
import { LeaderService, OnLeaderMessage } from 'nestjs-hedge';
import { METRICS, type MetricName } from '../../libs/hedge/src/telemetry/definitions.js';
import { HedgePod } from '../../libs/hedge/src/pod/hedge-pod.js';
import { Pods, until } from '../nest/apps.js';

Logger.overrideLogger(false);

class Handlers {
  @OnLeaderMessage('price')
  price(): number {
    return 3;
  }
}

describe('a pod of an app', () => {
  let pods: Pods;
  afterEach(async () => {
    await pods.close();
    metrics.disable();
  });

  it('without an SDK has no listener for its metrics', async () => {
    pods = new Pods();
    const app = await pods.start();
    expect(app.get(HedgePod, { strict: false }).metrics.listening).toBe(false);
  });

  it('with an SDK reports to its meter provider, until it closes', async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const provider = new MeterProvider({
      readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
    });
    metrics.setGlobalMeterProvider(provider);
    const collected = async () => {
      exporter.reset();
      await provider.forceFlush();
      const scopes = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics);
      return scopes.filter(({ scope }) => scope.name === 'nestjs-hedge').flatMap((scope) => scope.metrics);
    };
    const value = async (name: MetricName) =>
      (await collected()).find(({ descriptor }) => descriptor.name === name)?.dataPoints[0];

    pods = new Pods({ providers: [Handlers] });
    const app = await pods.start();
    await until(() => app.get(LeaderService).isLeader(), 'the pod leads');
    await app.get(LeaderService).send('price');
    expect(await value('hedge.leader')).toMatchObject({ value: 1, attributes: { group: 'test' } });
    expect(await value('hedge.handler.duration')).toMatchObject({
      attributes: { group: 'test', kind: 'send', code: 'OK' },
      value: { count: 1, buckets: { boundaries: METRICS['hedge.handler.duration'].buckets } },
    });
    for (const { descriptor } of await collected()) {
      const { help, unit = '' } = METRICS[descriptor.name as MetricName];
      expect(descriptor).toMatchObject({ description: help, unit });
    }
    await app.close();
    // Also if the SDK collects again before the process ends.
    for (let i = 0; i < 2; i += 1) expect(await value('hedge.leader')).toMatchObject({ value: 0 });
    await provider.shutdown();
  });
});
