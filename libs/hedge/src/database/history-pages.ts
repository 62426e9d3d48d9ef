import { HedgeError } from '../common/errors.js';
import { OVERWRITE_ID, type HistoryQuery, type KeysQuery, type LogEntry } from './log-table.js';

/** One page of a history: `from` is the last entry of the page before. */
export type HistoryPageQuery = Omit<HistoryQuery, 'signal'> & { readonly from: LogEntry | undefined };

export interface HistoryPage {
  /** At most `limit` entries after `from`, in the requested order. */
  readonly entries: readonly LogEntry[];
  /** The page ended before the limit, because it was large enough. */
  readonly more: boolean;
}

/**
 * Reads a history in pages, each at its own time. So a long history does not delay other work of the database, and need
 * not end within the deadline of one call. The result is nevertheless the state of the key at one moment of the read
 * (K2). Only the row of an overwritten key can move meanwhile, from its place to the newest one:
 *
 * - newest first, the read would miss it: so versions written since then are read too, until it is not among them;
 * - oldest first, it would occur twice: the first occurrence is removed.
 *
 * @throws HedgeError CANCELLED when the query's signal aborts; the errors of `page`.
 */
export async function readHistory(
  query: HistoryQuery,
  page: (query: HistoryPageQuery) => Promise<HistoryPage>,
): Promise<readonly LogEntry[]> {
  const { limit, order } = query;
  const first = await readPages(query, page);
  if (order === 'oldest-first' || first.pages === 1) return first.entries;
  let entries = first.entries;
  for (;;) {
    const newest = entries[0];
    if (newest === undefined) return entries;
    const since = await readPages({ ...query, limit: Infinity, after: newest.timestamp }, page);
    if (!since.entries.some(isOverwritten)) return entries.slice(0, limit);
    entries = [...since.entries, ...entries.filter((entry) => !isOverwritten(entry))];
  }
}

async function readPages(
  { signal, ...query }: HistoryQuery,
  page: (query: HistoryPageQuery) => Promise<HistoryPage>,
): Promise<{ readonly entries: LogEntry[]; readonly pages: number }> {
  const entries: LogEntry[] = [];
  let overwritten: number | undefined;
  for (let pages = 1, from: LogEntry | undefined; ; pages += 1) {
    assertWanted('history', signal);
    const asked = query.limit - entries.length;
    const found = await page({ ...query, limit: asked, from });
    for (const entry of found.entries) {
      if (isOverwritten(entry)) {
        if (overwritten !== undefined) entries.splice(overwritten, 1);
        overwritten = entries.length;
      }
      entries.push(entry);
    }
    // A full page from which the older row of the overwritten key was removed lacks one entry.
    const more = found.more || found.entries.length >= asked;
    if (!more || entries.length >= query.limit) return { entries, pages };
    from = found.entries.at(-1);
  }
}

/** A key, and whether its newest row is a tombstone. */
export interface FoundKey {
  readonly key: string;
  readonly deleted: boolean;
}

/**
 * Reads keys in pages, and leaves out the deleted ones. A page has at most `limit` keys after `after`. The pages grow, so
 * that many deleted keys take few calls.
 * @throws HedgeError CANCELLED when the query's signal aborts; the errors of `page`.
 */
export async function readKeys(
  { limit, after, signal }: KeysQuery,
  page: (limit: number, after: string | undefined) => Promise<{ found: readonly FoundKey[]; more: boolean }>,
): Promise<readonly string[]> {
  const keys: string[] = [];
  for (let asked = limit, from = after; ; asked *= 2) {
    assertWanted('keys', signal);
    const { found, more } = await page(asked, from);
    for (const { key, deleted } of found) if (!deleted) keys.push(key);
    if (!more || keys.length >= limit) return keys.slice(0, limit);
    from = found.at(-1)?.key;
  }
}

/** @throws HedgeError CANCELLED */
function assertWanted(call: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new HedgeError('CANCELLED', `${call} was cancelled by its signal before all rows were read.`, {
    cause: signal.reason,
  });
}

function isOverwritten({ id }: LogEntry): boolean {
  return id === OVERWRITE_ID;
}
