import type { MemberId } from '../../common/identity.js';

/** A member that takes frames, and what its node still lends, in bytes of RAM and disk together. */
export interface Space {
  readonly member: MemberId;
  readonly freeBytes: number;
}

/** One try to open a way to a member; a later one never has the number of an earlier one. */
export interface Attempt {
  /** Incarnation of the member. */
  readonly target: string;
  readonly session: number;
}

export type PlacementInput =
  | { readonly type: 'tick' }
  /** A sealed frame wants its places. Its sequence is above those of all frames before it. */
  | { readonly type: 'frame'; readonly sequence: number; readonly bytes: number }
  /** The other members, as the latest view has them. */
  | { readonly type: 'members'; readonly members: readonly Space[] }
  /** The target holds the frame, and says so. */
  | { readonly type: 'stored'; readonly attempt: Attempt; readonly sequence: number }
  /** The target has no room for these frames, and holds none of them. */
  | {
      readonly type: 'refused';
      readonly attempt: Attempt;
      readonly sequences: readonly number[];
      readonly freeBytes: number;
    }
  /** The way to the target broke, or there was none: what it has not acknowledged is not counted on. */
  | { readonly type: 'failed'; readonly attempt: Attempt };

export type PlacementEffect =
  /** Store the frame there. To this pod itself when the target is its own incarnation. */
  | { readonly type: 'store'; readonly attempt: Attempt; readonly member: MemberId; readonly sequence: number }
  /** Give that way up, and have these frames discarded should they have arrived: they go elsewhere. */
  | { readonly type: 'abandon'; readonly attempt: Attempt; readonly sequences: readonly number[] }
  /** All copies of the frame are acknowledged. */
  | { readonly type: 'placed'; readonly sequence: number; readonly targets: readonly string[] }
  /** There is no place for the frame. Given once; nothing is placed any more. */
  | { readonly type: 'exhausted'; readonly sequence: number }
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number };
