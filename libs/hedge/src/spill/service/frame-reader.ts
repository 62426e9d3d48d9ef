import type { FrameIndex, IndexedFrame } from '../placement/frame-index.js';
import type { LoadedFrame } from '../node/storage.js';
import { WholeRecords, type RecordViews } from '../records/record-views.js';
import type { SpillFrame } from '../records/frame.js';
import type { FrameSource } from './frame-source.js';
import type { FrameToken, FrameTokens } from './frame-tokens.js';
import { EventLoopYielder } from '../../common/async/event-loop-yielder.js';

/** Frames that one reader loads at a time, so that the network and the disks of several members work in parallel. */
const READ_AHEAD = 4;

/** The records to read: from number `from` to number `to`, exclusive. */
export interface RecordRange {
  readonly from: number;
  readonly to: number;
}

export interface FrameReaderOptions {
  readonly index: FrameIndex;
  readonly source: FrameSource;
  readonly tokens: FrameTokens;
  /** Aborts when the store is dropped, with the reason. */
  readonly signal: AbortSignal;
}

interface PendingFrame {
  readonly loaded: Promise<LoadedFrame>;
  readonly token: FrameToken;
}

/**
 * The records of a range, whole and in order, in groups that are adjacent in memory. Never with a gap (P1).
 * @throws HedgeError SPILL_LOST, SPILL_CORRUPT, SPILL_UNKNOWN
 */
export async function* readRecords(options: FrameReaderOptions, range: RecordRange): AsyncGenerator<RecordViews, void> {
  const { index, source } = options;
  const whole = new WholeRecords();
  if (range.from === range.to) return;
  try {
    for await (const frame of framesOf(options, index.find(range.from), index.find(range.to - 1) + 1)) {
      const records = whole.of(frame);
      const first = frame.header.firstRecord;
      const wanted = records.slice(
        Math.max(0, Math.min(range.from - first, records.count)),
        Math.min(range.to - first, records.count),
      );
      if (wanted.count > 0) yield wanted;
    }
  } finally {
    source.close();
  }
}

/** The frames of the range, to the end of a record that spans frames. */
async function* framesOf(options: FrameReaderOptions, from: number, to: number): AsyncGenerator<SpillFrame, void> {
  const { index, tokens, signal } = options;
  const yielder = new EventLoopYielder();
  const ahead: PendingFrame[] = [];
  let next = from;
  let end = to;
  while (index.at(end - 1)?.continued === true) end += 1;
  try {
    while (next < end || ahead.length > 0) {
      while (next < end && ahead.length < READ_AHEAD) {
        const token = ahead.length === 0 ? await tokens.acquire(signal) : tokens.tryAcquire();
        if (token === undefined) break;
        ahead.push(load(options, index.at(next) as IndexedFrame, token));
        next += 1;
      }
      yield await detached(ahead.shift() as PendingFrame);
      await yielder.next();
    }
  } finally {
    for (const left of ahead) void detached(left).catch(() => undefined);
  }
}

/** Ends lease and token before the reader gets the frame, so that an idle reader holds neither. */
async function detached({ loaded, token }: PendingFrame): Promise<SpillFrame> {
  try {
    const frame = await loaded;
    // From here on the reader keeps the bytes.
    frame.lease.detach();
    return frame;
  } finally {
    token.release();
  }
}

function load({ source, signal }: FrameReaderOptions, frame: IndexedFrame, token: FrameToken): PendingFrame {
  const loaded = source.load(frame, signal);
  // An error is thrown when the frame is the next to read, or never.
  loaded.catch(() => undefined);
  return { loaded, token };
}
