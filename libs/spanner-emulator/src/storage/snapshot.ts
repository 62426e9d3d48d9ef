import type { Nanos } from '../common/timestamps.js';
import { notFound } from '../common/status.js';
import { formatTimestamp } from '../common/timestamps.js';
import type { Row } from '../sql/types.js';
import type { Access, View } from './access.js';

/** The database at one timestamp. Takes no locks and never waits. */
export class Snapshot implements View {
  constructor(
    readonly at: Nanos,
    private readonly onRow: () => void = () => {},
  ) {}

  *rows({ table, index, ranges, reverse = false }: Access): Generator<Row> {
    if (table.createdAt > this.at) {
      throw notFound(`Table '${table.name}' is not found at timestamp: ${formatTimestamp(this.at)}.`);
    }
    for (const range of reverse ? [...ranges].reverse() : ranges) {
      if (!index) {
        for (const [, row] of table.rows.scan(range, this.at, reverse)) {
          this.onRow();
          yield row;
        }
        continue;
      }
      for (const [, key] of index.entries.scan(range, this.at, reverse)) {
        this.onRow();
        yield table.rows.get(key, this.at)!;
      }
    }
  }
}
