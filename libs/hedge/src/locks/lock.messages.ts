import type { ContenderInput, ContenderSettings, DatabaseCall, LossReason } from '../lease/lease-contender.messages.js';

export type LockSettings = Pick<ContenderSettings, 'self' | 'timing' | 'observes' | 'random'>;

/** What can happen to the contest for one lock. */
export type LockInput =
  | { readonly type: 'tick' }
  /** A caller wants the lock. @param once now or not at all */
  | { readonly type: 'wait'; readonly waiter: number; readonly once: boolean }
  | { readonly type: 'cancel-wait'; readonly waiter: number }
  | { readonly type: 'release'; readonly token: bigint }
  /** Another member says that it gave the lock back. */
  | { readonly type: 'released-elsewhere'; readonly token: bigint }
  /** The answer to a `call`, with its attempt. */
  | {
      readonly type: 'answered';
      readonly round: number;
      readonly answer: ContenderInput & { readonly attempt: number };
    };

/** What the contest for a lock wants done, in this order. */
export type LockEffect =
  /** To the database; the answer comes back with the same round. */
  | { readonly type: 'call'; readonly round: number; readonly call: DatabaseCall }
  | { readonly type: 'granted'; readonly waiter: number; readonly token: bigint }
  /** To one that wanted it `once`. @param failed the database did not say whether it is free */
  | { readonly type: 'refused'; readonly waiter: number; readonly failed: boolean }
  /** Final for the token (L3). */
  | { readonly type: 'lost'; readonly token: bigint; readonly reason: LossReason }
  | { readonly type: 'announce-released'; readonly token: bigint }
  /** After `release`: the lock is free, or its lease runs out by itself. */
  | { readonly type: 'released'; readonly token: bigint };
