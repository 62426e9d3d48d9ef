import type { Fence, LogTable } from '../database/log-table.js';
import { handOverKey, leaseName } from '../database/row-names.js';
import type { MemberId } from '../common/identity.js';
import type { Transport } from '../transport/transport.js';
import type { MembershipInput } from './membership.core.js';
import { compareAppVersions } from './succession.js';

/** The last hand-over to a newer version. */
export interface HandOver {
  /** The version to which the leadership was handed over. */
  readonly appVersion: string;
  /** The term that handed over. */
  readonly epoch: bigint;
}

export interface HandOversOptions {
  readonly log: Pick<LogTable, 'latest' | 'overwrite'>;
  readonly group: string;
  readonly transport: Pick<Transport, 'self' | 'dial' | 'dialled'>;
}

/**
 * The row in the database that names the last version to which a leader has handed over. So the group hands over at most
 * once per version: if the pods of that version crash, or run beside an older one for long, the leadership does not move
 * back and forth.
 */
export class HandOvers {
  readonly #options: HandOversOptions;

  constructor(options: HandOversOptions) {
    this.#options = options;
  }

  /**
   * Dials a member, and claims the hand-over to its version. A term may repeat its claim.
   * @throws HedgeError when the member cannot be reached, or the database fails
   */
  async claim(epoch: bigint, to: MemberId, appVersion: string): Promise<MembershipInput> {
    const { log, group, transport } = this.#options;
    if (transport.dialled(to) === undefined) (await transport.dial(to)).close();
    const key = handOverKey(group);
    const entry = await log.latest(key);
    const granted = mayHandOver(entry && parseHandOver(entry.value), { epoch, appVersion });
    if (granted) {
      const fence: Fence = { lease: leaseName(group), token: epoch };
      const value = JSON.stringify({ appVersion, epoch: String(epoch), to: to.address });
      await log.overwrite({ key, value, leader: transport.self.address }, fence);
    }
    return { type: 'hand-over-claimed', epoch, to, appVersion, granted };
  }
}

/** Whether a term may hand over to a version after the last hand-over. */
export function mayHandOver(last: HandOver | undefined, { epoch, appVersion }: HandOver): boolean {
  if (last === undefined) return true;
  const order = compareAppVersions(appVersion, last.appVersion);
  return order > 0 || (order === 0 && epoch === last.epoch);
}

/** Undefined for a text that this version cannot read. */
function parseHandOver(text: string): HandOver | undefined {
  try {
    const { appVersion, epoch } = JSON.parse(text) as Record<string, unknown>;
    if (typeof appVersion !== 'string' || typeof epoch !== 'string') return undefined;
    return { appVersion, epoch: BigInt(epoch) };
  } catch {
    return undefined;
  }
}
