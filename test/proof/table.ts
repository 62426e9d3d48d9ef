import type { Result } from './schedule.js';

const HEAD = ['lock', 'A stops', 'commits, in order', 'A is told', 'stale write'];

/** The results as the table of docs/fencing-proof.md. */
export function describeResults(results: readonly Result[]): string {
  const rows = [HEAD, HEAD.map(() => '---'), ...results.map(cells)];
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** A row. A write is stale when the successor has committed before it. */
export function cells({ lock, stop, commits, told }: Result): string[] {
  return [lock, stop ?? 'never', commits, told, commits === 'B, A' ? 'yes' : 'no'];
}

/** The rows of the table in a page. */
export function rowsOf(page: string): string[][] {
  const lines = page.split('\n').filter((line) => line.startsWith('|'));
  const rows = lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.replaceAll(/[`*]/g, '').trim()),
  );
  return rows.slice(2);
}
