import type { WorkerBackend } from '../../database/backend.js';
import type { MemberId } from '../../common/identity.js';
import type { Timing } from '../../common/timing.js';
import type { TermToRenew } from './lease-renewer.core.js';
import type { MeasuredRenewal } from './report-renewal.js';

/** The data with which the renewal thread starts. */
export interface RenewalThreadData {
  readonly backend: WorkerBackend;
  readonly timing: Timing;
  readonly maxStallMs: number;
  /** The memory of `Liveness`. */
  readonly liveness: SharedArrayBuffer;
}

/** To the renewal thread. */
export type ToRenewalThread =
  | {
      readonly type: 'hold';
      readonly name: string;
      readonly holder: MemberId;
      readonly token: bigint;
      readonly term: TermToRenew;
      /** The memory of `SharedTerm`. */
      readonly memory: SharedArrayBuffer;
    }
  | { readonly type: 'drop'; readonly id: number }
  /** As `LeaseTable.heard`. */
  | { readonly type: 'heard'; readonly name: string; readonly token: bigint; readonly leaseMs: number }
  /** Close the database and end. */
  | { readonly type: 'end' };

/** From the renewal thread. */
export type FromRenewalThread =
  /** It has loaded the driver. */
  | { readonly type: 'ready' }
  /** It has renewed these terms, or found them superseded: their memories say more. */
  | { readonly type: 'changed'; readonly ids: readonly number[] }
  | { readonly type: 'failed'; readonly ids: readonly number[]; readonly message: string }
  /** For metrics, after each call. */
  | { readonly type: 'measured'; readonly renewal: MeasuredRenewal };
