import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { METRICS, type MetricName, prometheusName } from './definitions.js';
import { Metrics, type MetricsSink } from './metrics.js';

/** Keeps the reports. */
function sink(reports: unknown[][]): MetricsSink {
  return {
    add: (...report) => void reports.push(report),
    record: (...report) => void reports.push(report),
  };
}

afterEach(() => void jest.restoreAllMocks());

describe('the metrics of a pod', () => {
  it('reach each sink with the group, until it is detached', () => {
    const metrics = new Metrics('orders');
    const reports: unknown[][] = [];
    metrics.add('hedge.leader_changes');
    expect(metrics.listening).toBe(false);
    const detach = metrics.attach(sink(reports));
    expect(metrics.listening).toBe(true);
    metrics.add('hedge.leader_changes');
    metrics.record('hedge.kv.batch.size', 7);
    detach();
    metrics.add('hedge.leader_changes');
    expect(reports).toEqual([
      ['hedge.leader_changes', 1, { group: 'orders' }],
      ['hedge.kv.batch.size', 7, { group: 'orders' }],
    ]);
  });

  it('have names of the app as labels only if the app asks for them', () => {
    const reports: unknown[][] = [];
    for (const optional of [[], ['lock'] as const]) {
      const metrics = new Metrics('g', optional);
      metrics.attach(sink(reports));
      metrics.add('hedge.lock.losses', { reason: 'expired', lock: 'a', unknown: 'b' });
    }
    expect(reports).toEqual([
      ['hedge.lock.losses', 1, { group: 'g', reason: 'expired' }],
      ['hedge.lock.losses', 1, { group: 'g', reason: 'expired', lock: 'a' }],
    ]);
  });

  it('are summed over the labels that the app does not ask for', () => {
    const held = [
      { value: 1, labels: { lock: 'a' } },
      { value: 1, labels: { lock: 'b' } },
    ];
    const [all, each] = [new Metrics('g'), new Metrics('g', ['lock'])];
    for (const metrics of [all, each]) metrics.gauge('hedge.locks.held', () => held);
    expect(all.read('hedge.locks.held')).toEqual([{ value: 2, labels: { group: 'g' } }]);
    expect(each.read('hedge.locks.held')).toHaveLength(2);
  });

  it('have a value of 0 when nothing is there', () => {
    const [all, each] = [new Metrics('g'), new Metrics('g', ['lock'])];
    for (const metrics of [all, each]) metrics.gauge('hedge.locks.held', () => []);
    expect(all.read('hedge.locks.held')).toEqual([{ value: 0, labels: { group: 'g' } }]);
    expect(each.read('hedge.locks.held')).toEqual([]);
  });

  it('go on without a sink that throws, and the process is warned once', () => {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
    const metrics = new Metrics('g');
    const reports: unknown[][] = [];
    metrics.attach({
      add: () => {
        throw new Error('closed');
      },
      record: () => undefined,
    });
    metrics.attach(sink(reports));
    metrics.add('hedge.leader_changes');
    metrics.add('hedge.leader_changes');
    expect(reports).toHaveLength(2);
    expect(warned.mock.calls).toEqual([[expect.stringContaining('closed')]]);
  });
});

describe('the definitions', () => {
  const names = Object.keys(METRICS) as MetricName[];

  it('give a histogram buckets in rising order, and no other metric any', () => {
    for (const name of names) {
      const { kind, buckets } = METRICS[name];
      expect([name, buckets !== undefined]).toEqual([name, kind === 'histogram']);
      expect([name, buckets && [...buckets].sort((a, b) => a - b)]).toEqual([name, buckets]);
    }
  });

  it('have names and labels that Prometheus accepts', () => {
    for (const name of names) {
      expect(prometheusName(name)).toMatch(/^hedge_[a-z_]+$/);
      const { labels = [], optional = [] } = METRICS[name];
      for (const label of [...labels, ...optional]) expect(label).toMatch(/^(?!le$|group$|quantile$)[a-z]+$/);
    }
    expect(new Set(names.map(prometheusName)).size).toBe(names.length);
  });
});
