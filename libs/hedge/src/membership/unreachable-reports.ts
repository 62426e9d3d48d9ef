import type { LogTable } from '../database/log-table.js';
import { unreachableKey } from '../database/row-names.js';
import type { MemberId } from '../common/identity.js';
import { forEachAtOnce } from '../common/async/for-each-at-once.js';
import type { Transport } from '../transport/transport.js';
import { ReportTurns, type StampedReport } from './report-turns.js';
import type { MembershipInput, UnreachableReport } from './membership.core.js';

/** Members dialled at the same time. */
const DIALS_AT_ONCE = 16;

export interface UnreachableReportsOptions {
  readonly log: Pick<LogTable, 'latest' | 'overwrite'>;
  readonly group: string;
  readonly transport: Pick<Transport, 'self' | 'dial' | 'dialled'>;
}

/**
 * The row in the database in which members report to a leader that they cannot reach it. The group has one such row. So
 * a member writes only if no other reporter reaches as many members, and passes when its own reports have no effect.
 */
export class UnreachableReports {
  readonly #options: UnreachableReportsOptions;
  #turns: ReportTurns | undefined;
  #writing = false;

  constructor(options: UnreachableReportsOptions) {
    this.#options = options;
  }

  /**
   * Dials the other members, and writes which of them this member reaches.
   * @param signal aborted when the report is not needed any more
   * @returns undefined when another member, which reaches as many, has reported since the last call; or while the last
   *   call still runs, as in a large group in which many do not answer; or when the signal is aborted
   * @throws HedgeError when the database fails
   */
  async write(epoch: bigint, others: readonly MemberId[], signal: AbortSignal): Promise<MembershipInput | undefined> {
    if (this.#writing) return undefined;
    this.#writing = true;
    try {
      return await this.#write(epoch, others, signal);
    } finally {
      this.#writing = false;
    }
  }

  async #write(epoch: bigint, others: readonly MemberId[], signal: AbortSignal): Promise<MembershipInput | undefined> {
    const { log, group, transport } = this.#options;
    const { self } = transport;
    const key = unreachableKey(group);
    this.#turns ??= new ReportTurns(self);
    const another = this.#turns.ofAnother(await this.#last(), epoch);
    if (this.#turns.passes || !ReportTurns.mayReachMore(another, others)) return undefined;
    const reached = await this.#reached(others, signal);
    if (signal.aborted || !ReportTurns.writes(another, reached)) return undefined;
    const { address, incarnation } = self;
    const value = JSON.stringify({ epoch: String(epoch), address, incarnation, reached });
    await log.overwrite({ key, value, leader: address });
    return { type: 'reported', epoch };
  }

  /**
   * Reads the last report, as leader.
   * @throws HedgeError when the database fails
   */
  async read(epoch: bigint): Promise<MembershipInput> {
    const last = await this.#last();
    if (last?.report.epoch !== epoch) return { type: 'reports-read', stamp: last?.stamp ?? '', dialled: false };
    const dialled = await this.#reaches(last.report.by);
    return { type: 'reports-read', stamp: last.stamp, report: last.report, dialled };
  }

  async #last(): Promise<StampedReport | undefined> {
    const entry = await this.#options.log.latest(unreachableKey(this.#options.group));
    const report = entry && parseReport(entry.value);
    return report && { report, stamp: String(entry.timestamp) };
  }

  async #reached(members: readonly MemberId[], signal: AbortSignal): Promise<string[]> {
    const reached: string[] = [];
    await forEachAtOnce(DIALS_AT_ONCE, members, async (member) => {
      if (!signal.aborted && (await this.#reaches(member))) reached.push(member.incarnation);
    });
    return reached;
  }

  /** An open link does not prove that the member is reachable, but a link without answers is closed soon. */
  async #reaches(member: MemberId): Promise<boolean> {
    const { transport } = this.#options;
    if (transport.dialled(member) !== undefined) return true;
    try {
      const link = await transport.dial(member);
      link.close();
      return true;
    } catch {
      return false;
    }
  }
}

/** Undefined for a text that this version cannot read. */
function parseReport(text: string): UnreachableReport | undefined {
  try {
    const { epoch, address, incarnation, reached } = JSON.parse(text) as Record<string, unknown>;
    if (typeof epoch !== 'string' || typeof address !== 'string' || typeof incarnation !== 'string') return undefined;
    if (!Array.isArray(reached) || !reached.every((one) => typeof one === 'string')) return undefined;
    return { epoch: BigInt(epoch), by: { address, incarnation }, reached };
  } catch {
    return undefined;
  }
}
