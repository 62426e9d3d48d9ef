import { messageOf } from '../common/errors.js';
import { oneLine } from '../common/line-logger.js';
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  METRICS,
  type MetricName,
  type OptionalLabel,
} from './definitions.js';

/** The values of labels, by name. A label without a value is left out. */
export type Labels = Readonly<Record<string, string | undefined>>;

/** One value of a gauge. */
export interface Reading {
  readonly value: number;
  readonly labels?: Labels;
}

/** Receives the counts and observations of a pod as they happen. It gets only the labels of the definition. */
export interface MetricsSink {
  add(name: CounterName, value: number, labels: Record<string, string>): void;
  record(name: HistogramName, value: number, labels: Record<string, string>): void;
}

/**
 * The metrics of one pod: the port between the engine, which reports, and the sinks, which OpenTelemetry and Prometheus
 * read. Without a sink, a report costs one comparison, and no gauge is read.
 *
 * @example
 * const metrics = new Metrics('orders');
 * metrics.gauge('hedge.leader', () => [{ value: elector.isLeader() ? 1 : 0 }]);
 * if (metrics.listening) metrics.record('hedge.kv.batch.size', rows.length);
 */
export class Metrics {
  readonly #group: string;
  readonly #optional: readonly OptionalLabel[];
  readonly #gauges = new Map<GaugeName, () => readonly Reading[]>();
  #sinks: readonly MetricsSink[] = [];

  /** @param optional the labels of the option `metrics.labels`. */
  constructor(group = '', optional: readonly OptionalLabel[] = []) {
    this.#group = group;
    this.#optional = optional;
  }

  /** Whether a sink is attached. Check it before work that only a report needs. */
  get listening(): boolean {
    return this.#sinks.length > 0;
  }

  add(name: CounterName, labels: Labels = {}, value = 1): void {
    if (this.#sinks.length === 0) return;
    const used = this.#used(name, labels);
    this.#each((sink) => sink.add(name, value, used));
  }

  /** @param value in the unit of the definition. */
  record(name: HistogramName, value: number, labels: Labels = {}): void {
    if (this.#sinks.length === 0) return;
    const used = this.#used(name, labels);
    this.#each((sink) => sink.record(name, value, used));
  }

  /** Sets the function that reads a gauge. It must only read state of this process, and not throw. */
  gauge(name: GaugeName, read: () => readonly Reading[]): void {
    this.#gauges.set(name, read);
  }

  /** The present values of a gauge. Values with the same labels are one value, their sum. */
  read(name: GaugeName): { readonly value: number; readonly labels: Record<string, string> }[] {
    const sums = new Map<string, { value: number; labels: Record<string, string> }>();
    // A gauge whose labels are all left out is always there, also when its readings are not.
    const { labels: fixed, optional } = METRICS[name];
    const summed = fixed === undefined && optional?.some((label) => this.#optional.includes(label)) === false;
    if (summed) {
      const used = this.#used(name, {});
      sums.set(keyOf(used), { value: 0, labels: used });
    }
    for (const { value, labels = {} } of this.#gauges.get(name)?.() ?? []) {
      const used = this.#used(name, labels);
      const key = keyOf(used);
      const sum = sums.get(key);
      if (sum === undefined) sums.set(key, { value, labels: used });
      else sum.value += value;
    }
    return [...sums.values()];
  }

  /** From now on the sink receives the reports of this pod. Returns a function that detaches it. */
  attach(sink: MetricsSink): () => void {
    this.#sinks = [...this.#sinks, sink];
    return () => this.#detach(sink);
  }

  #detach(sink: MetricsSink): void {
    this.#sinks = this.#sinks.filter((one) => one !== sink);
  }

  #used(name: MetricName, labels: Labels): Record<string, string> {
    const { labels: fixed = [], optional = [] } = METRICS[name];
    const used: Record<string, string> = { group: this.#group };
    for (const label of fixed) if (labels[label] !== undefined) used[label] = labels[label];
    for (const label of optional) {
      if (labels[label] !== undefined && this.#optional.includes(label)) used[label] = labels[label];
    }
    return used;
  }

  /** A sink that throws must not affect the election or a request. Its first error detaches it. */
  #each(report: (sink: MetricsSink) => void): void {
    for (const sink of this.#sinks) {
      try {
        report(sink);
      } catch (error) {
        this.#detach(sink);
        process.emitWarning(
          `nestjs-hedge reports no more metrics to a registry or meter of this app, because it threw an error: ${oneLine(messageOf(error))}`,
        );
      }
    }
  }
}

function keyOf(labels: Record<string, string>): string {
  return JSON.stringify(labels);
}

/** For parts that run without metrics. */
export const NO_METRICS = new Metrics();
