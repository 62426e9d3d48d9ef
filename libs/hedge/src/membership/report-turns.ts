import type { MemberId } from '../common/identity.js';
import type { UnreachableReport } from './membership.core.js';

/** The last report of the group. `stamp` differs from report to report. */
export interface StampedReport {
  readonly stamp: string;
  readonly report: UnreachableReport;
}

/** Own reports without effect, one after another, after which a member passes. A leader compares two. */
const REPORTS_BEFORE_PASS = 2;

/**
 * Decides whether a member writes its own report over that of another, of which there is one row. Pure.
 *
 * Members that reach no more than the last reporter leave the row to it. A network need not be transitive: the leader may
 * be able to dial another of them and not this one, and resign only for that one. So a member whose reports had no effect
 * passes once, and the next one has its turn (A1).
 */
export class ReportTurns {
  /** Of the report as last read. */
  #seen = '';
  /** Own reports in a row that the leader has not resigned for. */
  #own = 0;
  #passes = false;

  constructor(private readonly self: MemberId) {}

  /** Whether this member leaves its turn to another one now. To ask after `ofAnother`. */
  get passes(): boolean {
    return this.#passes;
  }

  /** The report of another member on the same term, if it was written since the last call. */
  ofAnother(last: StampedReport | undefined, epoch: bigint): UnreachableReport | undefined {
    const written = last !== undefined && last.stamp !== this.#seen;
    this.#seen = last?.stamp ?? '';
    const own = last?.report.epoch === epoch && last.report.by.incarnation === this.self.incarnation;
    this.#own = own ? this.#own + Number(written) : 0;
    this.#passes = this.#own >= REPORTS_BEFORE_PASS;
    if (this.#passes) this.#own = 0;
    return written && !own && last.report.epoch === epoch ? last.report : undefined;
  }

  /** Whether it is worth the dials to find out whether this member reaches more of `others`. */
  static mayReachMore(another: UnreachableReport | undefined, others: readonly MemberId[]): boolean {
    return another === undefined || 2 * another.reached.length < others.length;
  }

  static writes(another: UnreachableReport | undefined, reached: readonly string[]): boolean {
    return another === undefined || reached.length > another.reached.length;
  }
}
