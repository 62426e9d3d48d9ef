import { HedgeError } from '../common/errors.js';
import { OVERWRITE_ID, type HistoryQuery, type LogEntry } from './log-table.js';

/** Part of a history: `from` is the last entry of the part before. */
export type HistoryPageQuery = Omit<HistoryQuery, 'signal'> & { readonly from: LogEntry | undefined };

export interface HistoryPage {
  /** At most `limit`, behind `from`, in the order asked for. */
  readonly entries: readonly LogEntry[];
  /** It ended before the limit, because it was large enough. */
  readonly more: boolean;
}

/**
 * Reads a history in pages, each as of its own time, so that a long one neither holds up what else the database has
 * to do nor has to end within the time of one call. The result is nevertheless what the key had at one moment
 * of the read (K2). Only the row of an overwritten key can move meanwhile, from its place to the newest one:
 *
 * - newest first, it would then be missed: so what was written since is read too, until it is not in there;
 * - oldest first, it would come twice: the first one is left out.
 *
 * @throws HedgeError CANCELLED when the query's signal aborts; what `page` throws.
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
    // A full page whose older row of the overwritten key was left out is one too few.
    const more = found.more || found.entries.length >= asked;
    if (!more || entries.length >= query.limit) return { entries, pages };
    from = found.entries.at(-1);
  }
}

/** @throws HedgeError CANCELLED */
export function assertWanted(call: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new HedgeError('CANCELLED', `${call} was given up by its signal before all was read.`, {
    cause: signal.reason,
  });
}

function isOverwritten({ id }: LogEntry): boolean {
  return id === OVERWRITE_ID;
}
