import { oneLine } from '../common/line-logger.js';

export type Format = 'text' | 'json';

/** Writes the results of a command to the standard output, as text or as JSON. */
export class Output {
  constructor(
    private readonly format: Format,
    private readonly write: (text: string) => void,
  ) {}

  /**
   * @param json one JSON document, on one line. A bigint becomes digits.
   * @param text its lines for people. Text from outside is escaped, so that it can neither end a line nor move the cursor.
   */
  print(json: unknown, text: () => readonly string[]): void {
    if (this.format === 'json') this.write(`${JSON.stringify(json, digits)}\n`);
    else for (const line of text()) this.write(`${oneLine(line)}\n`);
  }

  /** As `print`, with a value that text output shows unchanged. */
  printValue(json: unknown, value: string): void {
    this.write(
      this.format === 'json' ? `${JSON.stringify(json, digits)}\n` : value.endsWith('\n') ? value : `${value}\n`,
    );
  }
}

/** The lines of a table. Columns are as wide as their widest cell. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [header, ...rows].map((row) => row.map(oneLine));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** The lines of a list of names and values. */
export function pairs(entries: readonly (readonly [name: string, value: string])[]): string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

/** `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 20 min`, `12 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length, Math.floor(Math.log2(count) / 10));
  return `${(count / 1_024 ** power).toFixed(1)} ${units[power - 1]}`;
}

function digits(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
