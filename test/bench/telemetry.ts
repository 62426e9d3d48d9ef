// Registers an SDK of OpenTelemetry, as an app does before it starts. What it collects is dropped.
import { context, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { ExportResultCode, W3CTraceContextPropagator, type ExportResult } from '@opentelemetry/core';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { HandlerFigures } from '../../libs/hedge/src/messaging/server/handler-figures.js';

const exporter = {
  export: (_: unknown, report: (result: ExportResult) => void) => report({ code: ExportResultCode.SUCCESS }),
  forceFlush: async () => undefined,
  shutdown: async () => undefined,
};

switch (process.env['BENCH_TELEMETRY'] ?? '') {
  case 'metrics':
    metrics.setGlobalMeterProvider(
      new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1_000 })] }),
    );
    break;
  case 'traces':
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] }));
    break;
  case 'no-figures':
    (await builtFigures()).prototype.record = () => undefined;
    break;
}

/** The class of the figures of topics, which the dashboard shows, in the build that the pod runs. */
async function builtFigures(): Promise<typeof HandlerFigures> {
  const file = new URL('../../libs/hedge/dist/messaging/server/handler-figures.js', import.meta.url);
  return ((await import(file.href)) as { HandlerFigures: typeof HandlerFigures }).HandlerFigures;
}
