import type { Term } from '../lease/lease-contender.core.js';
import type { ContenderInput, ContenderSettings, DatabaseCall, LossReason } from '../lease/lease-contender.messages.js';

export type LockSettings = Pick<
  ContenderSettings,
  'self' | 'timing' | 'observes' | 'random' | 'renewed' | 'renewalPhaseMs'
>;

/** The inputs of `LockStateMachine`. */
export type LockInput =
  | { readonly type: 'tick' }
  /** As for a contender. */
  | { readonly type: 'lapsed'; readonly token: bigint }
  /** A caller wants the lock. `once`: it does not wait if the lock is not free. */
  | { readonly type: 'wait'; readonly waiter: number; readonly once: boolean }
  | { readonly type: 'cancel-wait'; readonly waiter: number }
  | { readonly type: 'release'; readonly token: bigint }
  /** As `lease-released` and `queued` for a contender. */
  | { readonly type: 'released-elsewhere'; readonly token: bigint; readonly successor?: string | undefined }
  | { readonly type: 'queued'; readonly reads: boolean }
  /** The answer to a `call`, with its round and attempt. */
  | {
      readonly type: 'answered';
      readonly round: number;
      readonly answer: ContenderInput & { readonly attempt: number };
    };

/** The effects of `LockStateMachine`, to be performed in this order. */
export type LockEffect =
  /** Call the database. The answer has the same round. */
  | { readonly type: 'call'; readonly round: number; readonly call: DatabaseCall }
  /** With `renewed`: a term of this process began, whether or not a caller still waits. `ended` follows. */
  | ({ readonly type: 'acquired' } & Term)
  | { readonly type: 'ended'; readonly token: bigint }
  | { readonly type: 'granted'; readonly waiter: number; readonly token: bigint }
  /** For a caller that asked `once`. `failed`: the database did not answer. */
  | { readonly type: 'refused'; readonly waiter: number; readonly failed: boolean }
  /** Final for the token (L3). */
  | { readonly type: 'lost'; readonly token: bigint; readonly reason: LossReason }
  | { readonly type: 'announce-released'; readonly token: bigint }
  /** After `release`: the lock is free, or its lease will expire. */
  | { readonly type: 'released'; readonly token: bigint };
