import { invalidArgument, unimplemented } from '../common/status.js';

export interface PageRequest {
  readonly pageSize?: number | null;
  readonly pageToken?: string | null;
}

/** Spanner's limit for a page of sessions. */
const MOST = 1_000;

/** One page of a list whose order does not change, and the token of the next one if there is one. */
export const pageOf = <T>(
  items: readonly T[],
  { pageSize, pageToken }: PageRequest,
): { readonly page: T[]; readonly nextPageToken: string } => {
  if (pageToken && !/^\d+$/.test(pageToken)) throw invalidArgument(`Invalid page token: ${pageToken}`);
  const start = Number(pageToken ?? 0);
  const end = start + (pageSize && pageSize > 0 ? Math.min(pageSize, MOST) : MOST);
  return { page: items.slice(start, end), nextPageToken: end < items.length ? String(end) : '' };
};

/** Rejects a filter for lists without filters. */
export const refuseFilter = (list: string, filter: string | null | undefined): void => {
  if (filter) throw unimplemented(`the filter of ${list}`);
};

/**
 * Reads the filter of ListSessions: `labels.env:*` for sessions that have the label, `labels.env:dev` for those whose
 * label contains the text, in any case; several with a space between them must all hold.
 */
export const labelFilter = (
  filter: string | null | undefined,
): ((labels: Readonly<Record<string, string>>) => boolean) => {
  const terms = (filter ?? '').split(/\s+/).filter((term) => term !== '' && term.toUpperCase() !== 'AND');
  const tests = terms.map((term) => {
    const match = /^labels\.([a-z][-_a-z0-9]*):(?:(\*)|"([^"*]+)"|([-\w.]+))$/i.exec(term);
    if (!match || /^(?:OR|NOT)$/i.test(term)) throw unimplemented(`"${filter}" as the filter of ListSessions`);
    const key = match[1]!.toLowerCase();
    const text = (match[3] ?? match[4] ?? '').toLowerCase();
    return (labels: Readonly<Record<string, string>>) =>
      Object.entries(labels).some(([name, value]) => name.toLowerCase() === key && value.toLowerCase().includes(text));
  });
  return (labels) => tests.every((test) => test(labels));
};
