import { comparePlaces, OVERWRITE_ID, type LogEntry, type LogPlace } from '../../libs/hedge/src/database/log-table.js';
import { isReservedKey } from '../../libs/hedge/src/database/row-names.js';
import type { WatchScope } from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import { firstIndex, type SimulatedDatabase } from './database.js';
import { violated } from './violation.js';

/** While nothing fails, a watch gets each row this soon. It is less than the time after which it reads in any case. */
const SOON_MS = 1_000;

interface Watched {
  readonly scope: WatchScope;
  readonly by: string;
  last: LogPlace;
}

/** W1: each watch gets each row once, in the order of commits, and all of them in the end; soon, while nothing fails. */
export class WatchOracle {
  readonly #all = new Set<Watched>();
  /** All rows, also those that retention has deleted, in the order of commits. */
  #rows: LogEntry[] = [];
  /** The rows that retention has deleted. */
  readonly #trimmed = new Set<LogEntry>();
  /** Readers are fast now, so that they have read all rows in the end. */
  hurried = false;

  /** When the rows were committed for which a watch must not wait. */
  readonly #committedAt = new Map<LogEntry, number>();
  #nothingFails = false;

  constructor(
    private readonly database: SimulatedDatabase,
    private readonly now: () => number,
  ) {}

  /** From now on nothing fails, and the group has recovered. */
  recovered(): void {
    this.#nothingFails = true;
  }

  written(entry: LogEntry): void {
    if (isReservedKey(entry.key)) return;
    if (entry.id === OVERWRITE_ID) {
      const isBefore = (row: LogEntry): boolean =>
        row.id === OVERWRITE_ID && row.key === entry.key && !this.#trimmed.has(row);
      const before = this.#rows.findIndex(isBefore);
      if (before >= 0) this.#rows.splice(before, 1);
    }
    const place = firstIndex(this.#rows, (row) => comparePlaces(row, entry) > 0);
    this.#rows.splice(place, 0, entry);
    if (this.#nothingFails) this.#committedAt.set(entry, this.now());
  }

  begin(
    scope: WatchScope,
    after: LogPlace,
    by: string,
  ): { delivered(entry: LogEntry): void; compacted(before: bigint): void } {
    const watched: Watched = { scope, by, last: after };
    this.#all.add(watched);
    return {
      delivered: (entry) => this.#delivered(watched, entry),
      compacted: (before) => this.#ended(watched, before),
    };
  }

  trimmed(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#trimmed.add(entry);
  }

  restored(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#trimmed.delete(entry);
  }

  /** The watch was told that rows which it had not read may be deleted. */
  #ended(watched: Watched, before: bigint): void {
    if (!this.#all.delete(watched)) return;
    const last = [...this.#trimmed].reduce((latest, { timestamp }) => (timestamp > latest ? timestamp : latest), -1n);
    if (before <= watched.last.timestamp || before > last + 1n)
      violated('W1', `${shown(watched)} was told of deleted rows before ${before}, and the last one is of ${last}`);
  }

  /** The database has lost rows, and may give their timestamps again: a watch that has seen them is not checked any more. */
  wentBack(): void {
    this.#all.clear();
    this.#rows = [...this.database.rows(), ...this.#trimmed]
      .filter(({ key }) => !isReservedKey(key))
      .sort(comparePlaces);
  }

  /** @param alive the incarnations of the processes that run. Their watches have had the time to deliver all rows. */
  finish(alive: ReadonlySet<string>): void {
    for (const watched of this.#all) {
      const missed = alive.has(watched.by) ? this.#next(watched) : undefined;
      if (missed !== undefined) violated('W1', `${shown(watched)} did not get ${missed.value} of ${missed.key}`);
    }
  }

  #delivered(watched: Watched, entry: LogEntry): void {
    if (!this.#all.has(watched)) return;
    if (comparePlaces(entry, watched.last) <= 0) violated('W1', `${shown(watched)} got ${entry.value} again, or late`);
    const missed = this.#next(watched);
    if (missed !== undefined && comparePlaces(missed, entry) < 0)
      violated('W1', `${shown(watched)} got ${entry.value}, and not ${missed.value} before it`);
    watched.last = entry;
    const delay = this.now() - (this.#committedAt.get(entry) ?? Infinity);
    if (delay > SOON_MS)
      violated('W1', `${shown(watched)} got ${entry.value} only ${Math.round(delay)} ms after its commit`);
  }

  /** The first row behind the last delivered one, also if it is deleted. */
  #next({ scope: { prefix, exact }, last }: Watched): LogEntry | undefined {
    const first = firstIndex(this.#rows, (row) => comparePlaces(row, last) > 0);
    for (let index = first; index < this.#rows.length; index += 1) {
      const row = this.#rows[index]!;
      if (exact ? row.key === prefix : row.key.startsWith(prefix)) return row;
    }
    return undefined;
  }
}

function shown({ by, scope }: Watched): string {
  return `the watch of ${scope.exact ? 'key' : 'prefix'} "${scope.prefix}" at ${by}`;
}
