import type { MemberId } from '../../common/identity.js';
import type { SpillTier } from '../node/storage.js';
import { type FrameHeader, nextRecord } from '../records/frame.js';

/** One copy of a frame. */
export interface Copy {
  readonly member: MemberId;
  readonly tier: SpillTier;
}

/** Where a frame of the store is, and which records it holds. */
export interface IndexedFrame {
  readonly sequence: number;
  readonly firstRecord: number;
  /** Number of the first record that does not end in this frame or before it. */
  readonly nextRecord: number;
  /** The last record goes on in the next frame. */
  readonly continued: boolean;
  readonly bytes: number;
  readonly copies: readonly Copy[];
}

/** What one member holds of a store. */
export interface MemberShare {
  readonly member: MemberId;
  readonly tier: SpillTier;
  readonly frames: number;
  /** Records that end in those frames; with two copies each record counts on both members. */
  readonly records: number;
  readonly bytes: number;
}

/**
 * The frames of one store in reading order, and who holds them. Pure.
 *
 * Sequences may come in any order, as several writers seal frames at once; the index is whole when none is
 * missing below its end, which is what `truncate` sees to when a write has failed.
 */
export class FrameIndex {
  #frames: (IndexedFrame & { copies: Copy[] })[] = [];

  /** A sealed frame, which nobody has acknowledged yet. */
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

  /** Records that are whole in it. */
  get records(): number {
    return this.#frames.at(-1)?.nextRecord ?? 0;
  }

  at(sequence: number): IndexedFrame | undefined {
    return this.#frames[sequence];
  }

  /** The first frame that is missing or has not that many copies; the length when there is none. */
  firstWithout(copies: number): number {
    const at = this.#frames.findIndex((frame?: IndexedFrame) => (frame?.copies.length ?? 0) < copies);
    return at === -1 ? this.#frames.length : at;
  }

  /** Forgets all from that sequence on; returns what was there. */
  truncate(length: number): IndexedFrame[] {
    const rest = this.#frames.slice(length).filter((frame?: IndexedFrame) => frame !== undefined);
    this.#frames.length = Math.min(length, this.#frames.length);
    return rest;
  }

  /** The frame in which that record begins; the length when it is beyond the last. */
  find(record: number): number {
    let [before, from] = [-1, this.#frames.length];
    while (from - before > 1) {
      const middle = (before + from) >>> 1;
      if ((this.#frames[middle] as IndexedFrame).nextRecord > record) from = middle;
      else before = middle;
    }
    // A record that spans frames ends in the last of them, and begins some before.
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
