import type { Clock } from '../../common/clock.js';

/** `leaderOnly`: a call that `@LeaderOnly({ forward: true })` sent to the leader. Its topic is the method. */
export type HandledKind = 'leader' | 'leaderOnly' | 'broadcast' | 'leaderStream' | 'broadcastStream';

/** The messages, or streams, of one topic that have ended on this pod in the last minutes. */
export interface TopicFigures {
  readonly kind: HandledKind;
  readonly topic: string;
  readonly calls: number;
  /** The calls that failed, by code. */
  readonly errors: Readonly<Record<string, number>>;
  /** The calls by duration: an upper bound in milliseconds, and the calls up to it and above the one before. */
  readonly durations: readonly (readonly [upToMs: number, calls: number])[];
}

/** The figures of a pod for the last four to five minutes, or since its start. */
export interface HandledState {
  /** The time that the figures are about. */
  readonly seconds: number;
  readonly topics: readonly TopicFigures[];
}

const SLOT_MS = 60_000;
const SLOTS = 5;
/** The first bound in milliseconds, and the step from one bound to the next: a percentile is at most a fifth too high. */
const FIRST_MS = 0.1;
const STEP = 1.2;
/** The last bound is about one hour. */
const BUCKETS = 97;
/** The most topics that are counted: 2 KB for each. */
const MOST_TOPICS = 500;

interface Slot {
  /** The number of the minute that it counts. */
  minute: number;
  calls: number;
  readonly errors: Map<string, number>;
  readonly buckets: Uint32Array;
}

interface Counted {
  readonly kind: HandledKind;
  readonly topic: string;
  readonly slots: (Slot | undefined)[];
}

/**
 * Counts the messages and streams that the handlers of this pod have ended, by topic, in minutes that replace each other.
 * So its memory is bounded, and an error stays visible for some minutes.
 */
export class HandlerFigures {
  readonly #clock: Clock;
  readonly #since: number;
  readonly #topics = new Map<string, Counted>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.now().mono;
  }

  /** @param code OK or the code of the error. */
  record(kind: HandledKind, topic: string, code: string, ms: number): void {
    const key = `${kind} ${topic}`;
    let counted = this.#topics.get(key);
    if (counted === undefined) {
      if (this.#topics.size >= MOST_TOPICS) return;
      counted = { kind, topic, slots: [] };
      this.#topics.set(key, counted);
    }
    const slot = slotOf(counted, Math.floor(this.#clock.now().mono / SLOT_MS));
    slot.calls += 1;
    slot.buckets[bucketOf(ms)]! += 1;
    if (code !== 'OK') slot.errors.set(code, (slot.errors.get(code) ?? 0) + 1);
  }

  /** The topics with a call in this time. */
  state(): HandledState {
    const now = this.#clock.now().mono;
    const first = Math.floor(now / SLOT_MS) - SLOTS + 1;
    const topics: TopicFigures[] = [];
    for (const { kind, topic, slots } of this.#topics.values()) {
      const recent = slots.filter((slot) => slot !== undefined && slot.minute >= first) as Slot[];
      const calls = recent.reduce((sum, slot) => sum + slot.calls, 0);
      if (calls > 0) topics.push({ kind, topic, calls, errors: errorsOf(recent), durations: durationsOf(recent) });
    }
    return { seconds: Math.round((now - Math.max(this.#since, first * SLOT_MS)) / 1_000), topics };
  }
}

/** The slot of that minute. It replaces the one of an earlier minute. */
function slotOf({ slots }: Counted, minute: number): Slot {
  const at = minute % SLOTS;
  const slot = (slots[at] ??= { minute, calls: 0, errors: new Map(), buckets: new Uint32Array(BUCKETS) });
  if (slot.minute === minute) return slot;
  slot.minute = minute;
  slot.calls = 0;
  slot.errors.clear();
  slot.buckets.fill(0);
  return slot;
}

function bucketOf(ms: number): number {
  if (!(ms > FIRST_MS)) return 0;
  return Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) / Math.log(STEP)));
}

function errorsOf(slots: readonly Slot[]): Record<string, number> {
  const errors: Record<string, number> = {};
  for (const slot of slots) {
    for (const [code, count] of slot.errors) errors[code] = (errors[code] ?? 0) + count;
  }
  return errors;
}

function durationsOf(slots: readonly Slot[]): (readonly [number, number])[] {
  const durations: (readonly [number, number])[] = [];
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
    const calls = slots.reduce((sum, { buckets }) => sum + buckets[bucket]!, 0);
    if (calls > 0) durations.push([Number((FIRST_MS * STEP ** bucket).toPrecision(3)), calls]);
  }
  return durations;
}
