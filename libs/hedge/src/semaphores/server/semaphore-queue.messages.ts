import type { HolderRow, SemaphoreRow, SemaphoreWriteResult } from '../../database/permit-table.js';
import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';

/** A request for permits, as the leader received it. */
export interface PermitClaim {
  /** Chosen by the caller, the same over all its tries. */
  readonly id: string;
  readonly holder: MemberId;
  readonly permits: number;
  /** What the caller takes to be agreed. */
  readonly limit: number;
  /** False: only if they are free now. */
  readonly wait: boolean;
  /** How long the caller has waited already, in milliseconds. */
  readonly waitedMs: number;
}

/** `ticket` is the runner's name for a request that awaits its answer. */
export type SemaphoreInput =
  | { readonly type: 'acquire'; readonly ticket: number; readonly claim: PermitClaim }
  /** The caller of that `acquire` does not wait any more. */
  | { readonly type: 'abandoned'; readonly ticket: number }
  | { readonly type: 'release'; readonly ticket: number; readonly id: string; readonly holder: MemberId }
  | { readonly type: 'renew'; readonly ticket: number; readonly ids: readonly string[]; readonly holder: MemberId }
  | { readonly type: 'resize'; readonly ticket: number; readonly limit: number }
  /** The link from that member broke: nothing is granted to it until it is heard again. */
  | { readonly type: 'unlinked'; readonly holder: MemberId }
  /** The time of a `wake` effect has come. */
  | { readonly type: 'flush' }
  /**
   * The results of the `read` or `write` effect in flight. `unseenForMs`: for so long permits may be valid that the row
   * does not show (`PermitTable.unseenForMs`).
   */
  | { readonly type: 'read'; readonly row: SemaphoreRow | undefined; readonly unseenForMs?: number }
  | { readonly type: 'written'; readonly result: SemaphoreWriteResult; readonly unseenForMs?: number }
  | { readonly type: 'failed'; readonly error: unknown; readonly random: number }
  /** This pod is handing over: whoever waits is to ask the next leader. What is held can be renewed and released. */
  | { readonly type: 'drain'; readonly error: HedgeError }
  /** This pod leads no more. */
  | { readonly type: 'end'; readonly error: HedgeError };

export type SemaphoreOutcome =
  | { readonly type: 'granted'; readonly token: bigint; readonly permitMs: number }
  /** Only of a claim that does not wait. */
  | { readonly type: 'not-free' }
  /** A release or a resize. */
  | { readonly type: 'done' }
  | { readonly type: 'renewed'; readonly unknown: readonly string[] };

export type SemaphoreEffect =
  /** Call `PermitTable.read`, and feed back `read` or `failed`. */
  | { readonly type: 'read' }
  /** Call `PermitTable.write`, fenced by the term, and feed back `written` or `failed`. */
  | {
      readonly type: 'write';
      readonly follows: bigint;
      readonly limit: number;
      readonly value: string;
      readonly holders: readonly HolderRow[];
    }
  /** Answer one request; exactly once for each ticket that was not abandoned. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: SemaphoreOutcome | HedgeError }
  /** Feed `flush` at this time or later; replaces any earlier wish. When it is now, the end of the turn is best. */
  | { readonly type: 'wake'; readonly at: number };
