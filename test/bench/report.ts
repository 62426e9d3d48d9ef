import { cpus } from 'node:os';
import type { AnyRow, Verdict } from './targets.js';

/** The description of the machine for BENCHMARKS.md. */
export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown processor';
  return `${processors.length} x ${model}, Node ${process.version}, ${process.platform} ${process.arch}, ${new Date().toISOString().slice(0, 10)}`;
}

/** Tables in Markdown: readable in a terminal, and ready for BENCHMARKS.md. */
export function formatRows(rows: readonly AnyRow[]): string {
  return table(
    ['name', 'concurrency', 'per second', 'p50 ms', 'p99 ms', 'spread', ''],
    rows.map((row) => [
      row.name,
      String(row.concurrency),
      row.opsPerSecond === 0 ? '' : Math.round(row.opsPerSecond).toLocaleString('en'),
      duration(row.p50Ms),
      duration(row.p99Ms),
      row.spread === 0 ? '' : `${Math.round(row.spread * 100)} %`,
      remark(row),
    ]),
  );
}

export function formatVerdicts(verdicts: readonly Verdict[]): string {
  return table(
    ['target', 'measured', ''],
    verdicts.map(({ target, measured, reached }) => [
      target,
      measured >= 100 ? Math.round(measured).toLocaleString('en') : measured.toFixed(2),
      reached ? 'reached' : 'NOT REACHED',
    ]),
  );
}

function remark({
  statementsPerThird,
  failedSends,
  rssMiB,
  rssAboveNestMiB,
  callsPerOperation,
  longestTurn,
  mbPerSecond,
  megabytes,
  cpuPercent,
  kbPerSecond,
  connections,
  cpuMicrosPerSend,
}: AnyRow): string {
  if (mbPerSecond !== undefined) return `${Math.round(mbPerSecond)} MB/s`;
  if (longestTurn !== undefined) return `longest turn ${longestTurn.toFixed(2)} x their number`;
  if (statementsPerThird !== undefined) return `${statementsPerThird.toFixed(2)} statements per third of a lease`;
  if (rssAboveNestMiB !== undefined) return `${rssAboveNestMiB.toFixed(1)} MiB above an empty Nest app`;
  if (callsPerOperation !== undefined) return `${callsPerOperation.toFixed(2)} calls to Spanner for each`;
  return [
    failedSends !== undefined && `${failedSends} failed sends`,
    megabytes !== undefined && `${megabytes.toFixed(2)} MB`,
    cpuPercent !== undefined && `${cpuPercent.toFixed(1)} % of a core`,
    cpuMicrosPerSend !== undefined && `${cpuMicrosPerSend.toFixed(1)} µs of CPU`,
    kbPerSecond !== undefined && `${kbPerSecond.toFixed(1)} kB/s`,
    connections !== undefined && `${Math.round(connections)} connections`,
    rssMiB !== undefined && `${rssMiB.toFixed(1)} MiB resident`,
  ]
    .filter((part) => part !== false)
    .join(', ');
}

function duration(ms: number): string {
  if (ms === 0) return '';
  return ms < 0.001 ? ms.toExponential(1) : ms.toFixed(3);
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...body.map((row) => row[column]?.length ?? 0), 3));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(head), line(rule), ...body.map(line)].join('\n');
}
