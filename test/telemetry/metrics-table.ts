import { METRICS, type MetricName, prometheusName } from '../../libs/hedge/src/telemetry/definitions.js';

const BEGIN = '<!-- The table of libs/hedge/src/telemetry/definitions.ts: `npm run docs:snippets` refreshes it. -->';

/** The text of docs/metrics.md, with the present table. */
export function withMetricsTable(markdown: string): string {
  const [before = '', after = ''] = markdown.split(`${BEGIN}\n`);
  const rest = after.slice(after.search(/^[^|\n]/m));
  return `${before}${BEGIN}\n\n${table()}\n\n${rest}`;
}

function table(): string {
  const rows = (Object.keys(METRICS) as MetricName[]).map((name) => {
    const { kind, labels = [], optional = [], help } = METRICS[name];
    const all = [...labels.map((label) => `\`${label}\``), ...optional.map((label) => `(\`${label}\`)`)];
    return [`\`${prometheusName(name)}\``, `\`${name}\``, kind, all.join(', '), help];
  });
  const lines = [['Prometheus', 'OpenTelemetry', 'kind', 'labels', 'meaning'], ...rows];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const line = (cells: readonly string[], fill = ' '): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(' | ')} |`;
  return [
    line(lines[0]!),
    line(
      widths.map(() => ''),
      '-',
    ),
    ...rows.map((row) => line(row)),
  ].join('\n');
}
