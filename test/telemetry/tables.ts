import { LOG_EVENTS } from '../../libs/hedge/src/common/log-events.js';
import { METRICS, type MetricName, prometheusName } from '../../libs/hedge/src/telemetry/definitions.js';

/** The tables of definitions in the pages for users: the file that defines each, its head and its rows. */
const TABLES: Readonly<Record<string, { readonly source: string; lines(): string[][] }>> = {
  'docs/metrics.md': { source: 'telemetry/definitions.ts', lines: metrics },
  'docs/logs.md': { source: 'common/log-events.ts', lines: logEvents },
};

/** The text of a page, with the present table. A page without a table stays as it is. */
export function withTable(page: string, markdown: string): string {
  const table = TABLES[page];
  if (table === undefined) return markdown;
  const begin = `<!-- The table of libs/hedge/src/${table.source}: \`npm run docs:snippets\` refreshes it. -->`;
  const [before = '', after = ''] = markdown.split(`${begin}\n`);
  const rest = after.slice(after.search(/^[^|\n]/m));
  return `${before}${begin}\n\n${aligned(table.lines())}\n\n${rest}`;
}

function metrics(): string[][] {
  const rows = (Object.keys(METRICS) as MetricName[]).map((name) => {
    const { kind, labels = [], optional = [], help } = METRICS[name];
    const all = [...labels.map((label) => `\`${label}\``), ...optional.map((label) => `(\`${label}\`)`)];
    return [`\`${prometheusName(name)}\``, `\`${name}\``, kind, all.join(', '), help];
  });
  return [['Prometheus', 'OpenTelemetry', 'kind', 'labels', 'meaning'], ...rows];
}

function logEvents(): string[][] {
  const rows = Object.entries(LOG_EVENTS).map(([event, { level, fields, help }]) => [
    `\`${event}\``,
    level.toUpperCase(),
    fields.map((field) => `\`${field}\``).join(', '),
    help,
  ]);
  return [['event', 'level', 'fields', 'meaning'], ...rows];
}

function aligned([head = [], ...rows]: readonly string[][]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((line) => line[column]!.length)));
  const line = (cells: readonly string[], fill = ' '): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(' | ')} |`;
  return [
    line(head),
    line(
      widths.map(() => ''),
      '-',
    ),
    ...rows.map((row) => line(row)),
  ].join('\n');
}
