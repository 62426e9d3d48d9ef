import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';
import { METRICS, type MetricName, prometheusName } from '../../libs/hedge/src/telemetry/definitions.js';
import { withTable } from './tables.js';
import { PROMTOOL, promtool } from './promtool.js';

const read = (file: string): string => readFileSync(file, 'utf8');

/** The names of all time series. */
const SERIES = new Set(
  (Object.keys(METRICS) as MetricName[]).flatMap((name) => {
    const shown = prometheusName(name);
    return METRICS[name].kind === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => shown + end) : [shown];
  }),
);

/** The series that an expression names, and the library does not have. */
const unknown = (expression: string): string[] =>
  (expression.match(/\bhedge_\w+/g) ?? []).filter((name) => !SERIES.has(name));

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets: readonly { readonly expr: string }[];
  }[];
}

it.each(['docs/metrics.md', 'docs/logs.md'])('%s has the table of the definitions', (page) => {
  expect(read(page)).toBe(withTable(page, read(page)));
});

describe('the alert rules', () => {
  const rules = (parse(read('docs/metrics/alerts.yml')) as Rules).groups.flatMap((group) => group.rules);

  it.each(rules)('$alert uses series that exist', ({ expr }) => {
    expect(expr).toContain('hedge_');
    expect(unknown(expr)).toEqual([]);
  });

  const check = PROMTOOL === undefined ? it.skip : it;
  check('are valid for promtool', async () => {
    expect(await promtool(['check', 'rules', 'docs/metrics/alerts.yml'])).toMatchObject({ code: 0 });
  });
  check('fire when they should, and only then', async () => {
    const { code, output } = await promtool(['test', 'rules', 'test/telemetry/alerts.test.yml']);
    expect([code, output]).toEqual([0, expect.stringContaining('SUCCESS')]);
  });
});

describe('the dashboard', () => {
  const { panels } = JSON.parse(read('docs/metrics/dashboard.json')) as Dashboard;
  const charts = panels.filter(({ targets }) => targets.length > 0);

  it.each(charts)('panel "$title" uses series that exist', ({ targets }) => {
    for (const { expr } of targets) {
      expect(expr).toContain('hedge_');
      expect(unknown(expr)).toEqual([]);
    }
  });

  it('has panels that do not overlap, with an id each', () => {
    expect(charts.length).toBeGreaterThan(10);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const [at, { gridPos: one }] of panels.entries()) {
      expect(one.x + one.w).toBeLessThanOrEqual(24);
      const overlapping = panels
        .slice(at + 1)
        .filter(
          ({ gridPos: { x, y, w, h } }) => x < one.x + one.w && one.x < x + w && y < one.y + one.h && one.y < y + h,
        );
      expect(overlapping).toEqual([]);
    }
  });

  const check = PROMTOOL === undefined ? it.skip : it;
  check('has expressions that Prometheus can parse', async () => {
    const groups = [
      {
        name: 'dashboard',
        rules: charts.flatMap(({ id, targets }) =>
          targets.map(({ expr }, index) => ({
            record: `panel:${id}:${index}`,
            expr: expr.replaceAll('$group', 'orders').replaceAll('$__rate_interval', '5m'),
          })),
        ),
      },
    ];
    const folder = mkdtempSync(join(tmpdir(), 'hedge-dashboard-'));
    try {
      // YAML contains JSON.
      writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups }));
      expect(await promtool(['check', 'rules', join(folder, 'rules.yml')])).toMatchObject({ code: 0 });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
