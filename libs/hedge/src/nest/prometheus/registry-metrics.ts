import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { METRICS, type MetricName, metricsOf, prometheusName } from '../../telemetry/definitions.js';
import type { Metrics, MetricsSink } from '../../telemetry/metrics.js';

const registries = new WeakMap<Registry, RegistryMetrics>();

/** The metrics of Hedge in one registry. All pods of this process share them, and differ in the label `group`. */
export class RegistryMetrics {
  readonly #registry: Registry;
  readonly #pods = new Set<Metrics>();
  #sink: MetricsSink | undefined;

  private constructor(registry: Registry) {
    this.#registry = registry;
  }

  static of(registry: Registry): RegistryMetrics {
    const known = registries.get(registry) ?? new RegistryMetrics(registry);
    registries.set(registry, known);
    return known;
  }

  /**
   * Reports the metrics of a pod. The metrics are in the registry until the last pod has ended.
   * @returns a function that ends the reports of this pod. Idempotent.
   * @throws Error of prom-client when the app has a metric of the same name.
   */
  report(pod: Metrics): () => void {
    this.#sink ??= this.#register();
    const detach = pod.attach(this.#sink);
    this.#pods.add(pod);
    return () => {
      detach();
      if (!this.#pods.delete(pod) || this.#pods.size > 0) return;
      for (const name of Object.keys(METRICS) as MetricName[]) {
        this.#registry.removeSingleMetric(prometheusName(name));
      }
      this.#sink = undefined;
    };
  }

  #register(): MetricsSink {
    const counters = new Map(metricsOf('counter').map((name) => [name, new Counter(this.#options(name))]));
    const histograms = new Map(
      metricsOf('histogram').map((name) => {
        const { buckets = [] } = METRICS[name];
        return [name, new Histogram({ ...this.#options(name), buckets: [...buckets] })];
      }),
    );
    const pods = this.#pods;
    for (const name of metricsOf('gauge')) {
      const gauge: Gauge = new Gauge({
        ...this.#options(name),
        collect() {
          gauge.reset();
          for (const pod of pods) for (const { value, labels } of pod.read(name)) gauge.set(labels, value);
        },
      });
    }
    return {
      add: (name, value, labels) => counters.get(name)?.inc(labels, value),
      record: (name, value, labels) => histograms.get(name)?.observe(labels, value),
    };
  }

  #options(name: MetricName): { name: string; help: string; labelNames: string[]; registers: Registry[] } {
    const { help, labels = [], optional = [] } = METRICS[name];
    const labelNames = ['group', ...labels, ...optional];
    return { name: prometheusName(name), help, labelNames, registers: [this.#registry] };
  }
}
