import type { MemberId } from '../../common/identity.js';

/** A member that can hold frames, and the capacity that it advertises: bytes of RAM and disk together. */
export interface MemberCapacity {
  readonly member: MemberId;
  readonly freeBytes: number;
}

/** One attempt to open a stream to a member. The session numbers of a member rise. */
export interface Attempt {
  /** Incarnation of the member. */
  readonly target: string;
  readonly session: number;
}

export type PlacementInput =
  | { readonly type: 'tick' }
  /** A sealed frame is to be placed. Its sequence is above those of all frames before it. */
  | { readonly type: 'frame'; readonly sequence: number; readonly bytes: number }
  /** The other members of the latest view. */
  | { readonly type: 'members'; readonly members: readonly MemberCapacity[] }
  /** The target has acknowledged that it holds the frame. */
  | { readonly type: 'stored'; readonly attempt: Attempt; readonly sequence: number }
  /** The target has no room for these frames, and holds none of them. */
  | {
      readonly type: 'refused';
      readonly attempt: Attempt;
      readonly sequences: readonly number[];
      readonly freeBytes: number;
    }
  /** The stream to the target broke or could not be opened: frames that it has not acknowledged do not count. */
  | { readonly type: 'failed'; readonly attempt: Attempt };

export type PlacementEffect =
  /** Store the frame on that member; on this pod when the target is its own incarnation. */
  | { readonly type: 'store'; readonly attempt: Attempt; readonly member: MemberId; readonly sequence: number }
  /** Cancel the stream of that attempt, and discard these frames if they have arrived: they are placed elsewhere. */
  | { readonly type: 'abandon'; readonly attempt: Attempt; readonly sequences: readonly number[] }
  /** All copies of the frame are acknowledged. */
  | { readonly type: 'placed'; readonly sequence: number; readonly targets: readonly string[] }
  /** No member has room for the frame. Emitted once; nothing is placed afterwards. */
  | { readonly type: 'exhausted'; readonly sequence: number }
  /** Send a `tick` after this time. Replaces the `wake` before. */
  | { readonly type: 'wake'; readonly afterMs: number };
