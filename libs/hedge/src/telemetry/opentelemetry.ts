import { createNoopMeter, metrics as api, type Meter, type MetricOptions } from '@opentelemetry/api';
import { METRICS, type MetricName, metricsOf } from './definitions.js';
import type { Metrics } from './metrics.js';

/** The name of the meter and of the tracer. */
export const SCOPE = 'nestjs-hedge';

/**
 * Reports the metrics of a pod to the meter provider that the app has registered with `@opentelemetry/api`. Without one it
 * does nothing.
 * @returns a function that ends the reports.
 */
export function reportToOpenTelemetry(metrics: Metrics, meter: Meter = api.getMeter(SCOPE)): () => void {
  // The instruments of a no-op meter never become real ones.
  if (meter === createNoopMeter()) return () => undefined;
  const counters = byName(metricsOf('counter'), (name) => meter.createCounter(name, optionsOf(name)));
  const histograms = byName(metricsOf('histogram'), (name) => meter.createHistogram(name, optionsOf(name)));
  const gauges = byName(metricsOf('gauge'), (name) => meter.createObservableGauge(name, optionsOf(name)));
  let ended = false;
  const observe: Parameters<Meter['addBatchObservableCallback']>[0] = (result) => {
    for (const [name, gauge] of gauges) {
      for (const { value, labels } of metrics.read(name)) result.observe(gauge, value, labels);
    }
    if (ended) meter.removeBatchObservableCallback(observe, [...gauges.values()]);
  };
  meter.addBatchObservableCallback(observe, [...gauges.values()]);
  const detach = metrics.attach({
    add: (name, value, labels) => counters.get(name)?.add(value, labels),
    record: (name, value, labels) => histograms.get(name)?.record(value, labels),
  });
  return () => {
    detach();
    // An SDK repeats the last value of a gauge that is not observed any more, so the pod shows once that it has ended.
    ended = true;
  };
}

function byName<Name extends MetricName, Instrument>(
  names: readonly Name[],
  make: (name: Name) => Instrument,
): Map<Name, Instrument> {
  return new Map(names.map((name) => [name, make(name)]));
}

function optionsOf(name: MetricName): MetricOptions {
  const { help, unit, buckets } = METRICS[name];
  return {
    description: help,
    ...(unit !== undefined && { unit }),
    ...(buckets !== undefined && { advice: { explicitBucketBoundaries: [...buckets] } }),
  };
}
