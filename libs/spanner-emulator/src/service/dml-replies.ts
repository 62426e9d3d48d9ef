import { createHash } from 'node:crypto';
import { invalidArgument } from '../common/status.js';
import type { Parameters } from '../sql/scope.js';

/** One DML statement with its parameters by name. */
export interface FingerprintedStatement {
  readonly sql: string;
  readonly parameters: Parameters;
}

/** A text that is unique for each value, and does not depend on the order of names in maps. */
const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value instanceof Map) return canonical(Object.fromEntries(value as Map<string, unknown>));
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join()}}`;
  }
  // JSON has no NaN, no infinities and no negative zero.
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  return JSON.stringify(value) ?? 'undefined';
};

/**
 * A fingerprint that shows whether two requests with one sequence number are equal. Parameters are compared by name: a protobuf map
 * has no order, and clients such as Go's send the same request with its parameters in another order.
 */
export const fingerprintOf = (method: string, statements: readonly FingerprintedStatement[]): string =>
  createHash('sha256')
    .update(canonical([method, statements.map(({ sql, parameters }) => [sql, parameters])]))
    .digest('base64');

/**
 * The outcomes of the DML of a transaction by sequence number. A repeated request, also while the first one still waits for
 * its locks, receives the outcome of the first and does not run.
 */
export class DmlReplies {
  private readonly replies = new Map<number, { readonly fingerprint: string; readonly outcome: Promise<unknown> }>();
  private last = -1;

  /** Runs the request unless one with this number has run or is running. Requests without a number (0) always run. */
  once<R>(seqno: number, fingerprint: string, run: () => Promise<R>): Promise<R> {
    const known = this.replies.get(seqno);
    if (known) {
      if (known.fingerprint === fingerprint) return known.outcome as Promise<R>;
      throw invalidArgument(`Previously received a different request with this seqno. seqno=${seqno}`);
    }
    if (seqno > 0 && seqno <= this.last) {
      throw invalidArgument(
        `Request has an out-of-order seqno. Request seqno=${seqno}. Last seen seqno=${this.last}. The sequence ` +
          'number must be monotonically increasing within the transaction.',
      );
    }
    const outcome = run();
    if (seqno > 0) {
      this.last = seqno;
      this.replies.set(seqno, { fingerprint, outcome });
      // Each caller receives a failure. The stored promise has no caller yet.
      outcome.catch(() => {});
    }
    return outcome;
  }
}
