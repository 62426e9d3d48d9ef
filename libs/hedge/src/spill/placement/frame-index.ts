import type { MemberId } from '../../common/identity.js';
import type { SpillTier } from '../node/storage.js';
import { type FrameHeader, nextRecord } from '../records/frame.js';

/** One copy of a frame. */
export interface Copy {
  readonly member: MemberId;
  readonly tier: SpillTier;
}

/** A frame of the store: its records, and the members that hold it. */
export interface IndexedFrame {
  readonly sequence: number;
  readonly firstRecord: number;
  /** Number of the first record that does not end in this frame or before it. */
  readonly nextRecord: number;
  /** The last record continues in the next frame. */
  readonly continued: boolean;
  readonly bytes: number;
  readonly copies: readonly Copy[];
}

/** The part of a store that one member holds in one tier. */
export interface MemberShare {
  readonly member: MemberId;
  readonly tier: SpillTier;
  readonly frames: number;
  /** Records that end in those frames; with two copies each record counts on both members. */
  readonly records: number;
  readonly bytes: number;
}

/**
 * The frames of one store in reading order, and the members that hold them. Pure.
 *
 * Several writers seal frames at once, so sequences arrive in any order. After a failed write `truncate` removes
 * everything after the first missing frame, so that no sequence is missing in the index.
 */
export class FrameIndex {
  #frames: (IndexedFrame & { copies: Copy[] })[] = [];

  /** Adds a sealed frame, which no member has acknowledged yet. */
  add(header: FrameHeader, bytes: number): void {
    const { sequence, firstRecord, continued } = header;
    this.#frames[sequence] = { sequence, firstRecord, nextRecord: nextRecord(header), continued, bytes, copies: [] };
  }

  stored(sequence: number, copy: Copy): void {
    this.#frames[sequence]?.copies.push(copy);
  }

  /** Frames in the index. */
  get length(): number {
    return this.#frames.length;
  }

  /** Records that end in its frames. */
  get records(): number {
    return this.#frames.at(-1)?.nextRecord ?? 0;
  }

  at(sequence: number): IndexedFrame | undefined {
    return this.#frames[sequence];
  }

  /** The first frame that is missing or has fewer copies; the length when there is none. */
  firstWithout(copies: number): number {
    const at = this.#frames.findIndex((frame?: IndexedFrame) => (frame?.copies.length ?? 0) < copies);
    return at === -1 ? this.#frames.length : at;
  }

  /** Removes the frames from that sequence on, and returns them. */
  truncate(length: number): IndexedFrame[] {
    const rest = this.#frames.slice(length).filter((frame?: IndexedFrame) => frame !== undefined);
    this.#frames.length = Math.min(length, this.#frames.length);
    return rest;
  }

  /** The frame in which the record begins; the length when there is no such record. */
  find(record: number): number {
    let [before, from] = [-1, this.#frames.length];
    while (from - before > 1) {
      const middle = (before + from) >>> 1;
      if ((this.#frames[middle] as IndexedFrame).nextRecord > record) from = middle;
      else before = middle;
    }
    // This is the frame in which the record ends; it may begin in an earlier one.
    while (this.#frames[from - 1]?.continued === true) from -= 1;
    return from;
  }

  shares(): MemberShare[] {
    const shares = new Map<string, { -readonly [K in keyof MemberShare]: MemberShare[K] }>();
    let record = 0;
    for (const frame of this.#frames) {
      for (const { member, tier } of frame?.copies ?? []) {
        const key = `${member.incarnation} ${tier}`;
        const share = shares.get(key) ?? { member, tier, frames: 0, records: 0, bytes: 0 };
        shares.set(key, share);
        share.frames += 1;
        share.records += frame.nextRecord - record;
        share.bytes += frame.bytes;
      }
      record = frame?.nextRecord ?? record;
    }
    return [...shares.values()];
  }
}
