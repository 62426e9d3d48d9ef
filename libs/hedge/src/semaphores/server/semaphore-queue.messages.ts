import type { HolderRow, PermitRow, SemaphoreRow, SemaphoreWriteResult } from '../../database/permit-table.js';
import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';

/** A request for permits, as the leader received it. */
export interface PermitClaim {
  /** Chosen by the caller; the same in all its attempts. */
  readonly id: string;
  readonly holder: MemberId;
  readonly permits: number;
  /** The limit that the caller requests. */
  readonly limit: number;
  /** False: acquire only if the permits are free now. */
  readonly wait: boolean;
  /** How long the caller has waited already, in milliseconds. */
  readonly waitedMs: number;
}

interface UnseenPermits {
  /** For this long, permits that the row does not show may be valid (`PermitTable.unseenForMs`). */
  readonly unseenForMs?: number;
}

/** `ticket` identifies a request of the runner that waits for its answer. */
export type SemaphoreInput =
  | { readonly type: 'acquire'; readonly ticket: number; readonly claim: PermitClaim }
  /** The caller of that `acquire` no longer waits. */
  | { readonly type: 'abandoned'; readonly ticket: number }
  | { readonly type: 'release'; readonly ticket: number; readonly id: string; readonly holder: MemberId }
  | { readonly type: 'renew'; readonly ticket: number; readonly ids: readonly string[]; readonly holder: MemberId }
  | { readonly type: 'resize'; readonly ticket: number; readonly limit: number }
  /** The link from that member broke: it is granted nothing until it is heard again. */
  | { readonly type: 'unlinked'; readonly holder: MemberId }
  /** The time of a `wake` effect has come. */
  | ({ readonly type: 'flush' } & UnseenPermits)
  /** The results of the `read` or `write` effect in flight. */
  | ({ readonly type: 'read'; readonly row: SemaphoreRow | undefined } & UnseenPermits)
  | ({ readonly type: 'written'; readonly result: SemaphoreWriteResult } & UnseenPermits)
  | { readonly type: 'failed'; readonly error: unknown; readonly random: number }
  /** This pod drains: waiting callers must ask the next leader. Held permits can still be renewed and released. */
  | { readonly type: 'drain'; readonly error: HedgeError }
  /** This pod no longer leads. */
  | { readonly type: 'end'; readonly error: HedgeError };

export type SemaphoreOutcome =
  | { readonly type: 'granted'; readonly token: bigint; readonly permitMs: number }
  /** Only for a claim that does not wait. */
  | { readonly type: 'not-free' }
  /** The outcome of a release or a resize. */
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
      readonly permits: readonly PermitRow[];
    }
  /** Answer one request; exactly once for each ticket that was not abandoned. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: SemaphoreOutcome | HedgeError }
  /** Feed `flush` at this time or later. Replaces any earlier `wake`. If the time is now, use the end of the turn. */
  | { readonly type: 'wake'; readonly at: number };
