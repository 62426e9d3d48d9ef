import type { PartialResultSet } from './protocol.js';
import { fromProto, type Column, type Row } from './values.js';

/**
 * The rows of a streamed result. Messages split it at any place: between rows, between values, and inside a text, which
 * then continues in the next message.
 * @see https://cloud.google.com/spanner/docs/reference/rpc/google.spanner.v1#partialresultset
 */
export function mergeRows(messages: readonly PartialResultSet[]): Row[] {
  const width = messages[0]?.metadata?.rowType?.fields?.length ?? 0;
  const columns: Column[] = [];
  let goesOn = false;
  for (const { values, chunkedValue } of messages) {
    const [first, ...rest] = (values ?? []).map(fromProto);
    if (first === undefined) continue;
    if (goesOn) columns.push(`${columns.pop() ?? ''}${first ?? ''}`);
    else columns.push(first);
    columns.push(...rest);
    goesOn = chunkedValue ?? false;
  }
  if (width === 0) return [];
  return Array.from({ length: columns.length / width }, (_, i) => columns.slice(i * width, (i + 1) * width));
}
