import type { FrameIndex, IndexedFrame } from '../placement/frame-index.js';
import type { LoadedFrame } from '../node/storage.js';
import type { RecordViews } from '../records/record-views.js';
import type { SpillFrame } from '../records/frame.js';
import { WholeRecords } from '../records/whole-records.js';
import type { FrameSource } from './frame-source.js';
import type { FrameToken, FrameTokens } from './frame-tokens.js';
import { EventLoopYielder } from './event-loop-yielder.js';

/** Frames under way for one reader at once, so that network and disks of several members overlap. */
const READ_AHEAD = 4;

/** Which records to read: from number `from` up to and without `to`. */
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

interface Ahead {
  readonly frame: Promise<LoadedFrame>;
  readonly token: FrameToken;
}

/**
 * The records of a range, whole and in order, as many at a time as lie together.
 * @throws HedgeError SPILL_LOST, SPILL_CORRUPT, SPILL_UNKNOWN: never a gap (P1)
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

/** Through to the end of a record that spans frames. */
async function* framesOf(options: FrameReaderOptions, from: number, to: number): AsyncGenerator<SpillFrame, void> {
  const { index, tokens, signal } = options;
  const turns = new EventLoopYielder();
  const ahead: Ahead[] = [];
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
      yield await taken(ahead.shift() as Ahead);
      await turns.next();
    }
  } finally {
    for (const left of ahead) void taken(left).catch(() => undefined);
  }
}

/** Before it is handed on: a reader that does nothing holds no room. */
async function taken({ frame, token }: Ahead): Promise<SpillFrame> {
  try {
    const loaded = await frame;
    // From here on the bytes are the reader's.
    loaded.lease.detach();
    return loaded;
  } finally {
    token.release();
  }
}

function load({ source, signal }: FrameReaderOptions, frame: IndexedFrame, token: FrameToken): Ahead {
  const loaded = source.load(frame, signal);
  // Thrown when its turn comes, or not at all.
  loaded.catch(() => undefined);
  return { frame: loaded, token };
}
