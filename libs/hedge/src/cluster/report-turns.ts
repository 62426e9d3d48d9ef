import type { MemberId } from '../common/identity.js';
import type { UnreachableReport } from './membership.js';

/** The last report of the group. `stamp` differs from report to report. */
export interface StampedReport {
  readonly stamp: string;
  readonly report: UnreachableReport;
}

/** Decides whether a member writes its own report over that of another, of which there is one row. Pure. */
export class ReportTurns {
  /** Of the report as last read. */
  #seen = '';

  constructor(private readonly self: MemberId) {}

  /** The report of another member on the same term, if it was written since the last call. */
  ofAnother(last: StampedReport | undefined, epoch: bigint): UnreachableReport | undefined {
    const written = last !== undefined && last.stamp !== this.#seen;
    this.#seen = last?.stamp ?? '';
    if (!written || last.report.epoch !== epoch) return undefined;
    return last.report.by.incarnation === this.self.incarnation ? undefined : last.report;
  }

  /** Whether it is worth the dials to find out whether this member reaches more of `others`. */
  static mayReachMore(another: UnreachableReport | undefined, others: readonly MemberId[]): boolean {
    return another === undefined || 2 * another.reached.length < others.length;
  }

  static writes(another: UnreachableReport | undefined, reached: readonly string[]): boolean {
    return another === undefined || reached.length > another.reached.length;
  }
}
