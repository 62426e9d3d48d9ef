import type { MemberId } from '../common/identity.js';
import type { UnreachableReport } from './membership.core.js';

/** The last report of the group. `stamp` differs from report to report. */
export interface StampedReport {
  readonly stamp: string;
  readonly report: UnreachableReport;
}

/** A member passes after so many own reports without effect. A leader needs two to compare. */
const REPORTS_BEFORE_PASS = 2;

/**
 * Decides whether a member overwrites the report of another one. All share one row. Pure.
 *
 * Members that reach no more members than the last reporter leave the row to it. Networks need not be transitive: the
 * leader may be able to dial another reporter and not this one, and resigns only for one that it can dial. So a member
 * whose reports had no effect passes once, and another member has its turn (A1).
 */
export class ReportTurns {
  /** The stamp of the report as last read. */
  #seen = '';
  /** Consecutive own reports after which the leader has not resigned. */
  #own = 0;
  #passes = false;

  constructor(private readonly self: MemberId) {}

  /** Whether this member leaves its turn to another one now. Valid after a call of `ofAnother`. */
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

  /** Whether this member can reach more of `others` than the other report, so that dialling them is worth the cost. */
  static mayReachMore(another: UnreachableReport | undefined, others: readonly MemberId[]): boolean {
    return another === undefined || 2 * another.reached.length < others.length;
  }

  static writes(another: UnreachableReport | undefined, reached: readonly string[]): boolean {
    return another === undefined || reached.length > another.reached.length;
  }
}
