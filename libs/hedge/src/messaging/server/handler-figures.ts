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
const BUCKETS_PER_LOG = 1 / Math.log(STEP);
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

type Slots = (Slot | undefined)[];

/**
 * Counts the messages and streams that the handlers of this pod have ended, by topic, in minutes that replace each other.
 * So its memory is bounded, and an error stays visible for some minutes.
 */
export class HandlerFigures {
  readonly #clock: Clock;
  readonly #since: number;
  readonly #topics: Readonly<Record<HandledKind, Map<string, Slots>>> = {
    leader: new Map(),
    leaderOnly: new Map(),
    broadcast: new Map(),
    leaderStream: new Map(),
    broadcastStream: new Map(),
  };
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.now().mono;
  }

  /**
   * Runs for each message, so it makes no texts, and reads no clock if the caller has.
   * @param code OK or the code of the error.
   */
  record(kind: HandledKind, topic: string, code: string, ms: number, now = this.#clock.now().mono): void {
    const topics = this.#topics[kind];
    let slots = topics.get(topic);
    if (slots === undefined) {
      if (this.#count >= MOST_TOPICS) return;
      this.#count += 1;
      slots = [];
      topics.set(topic, slots);
    }
    const slot = slotOf(slots, Math.floor(now / SLOT_MS));
    slot.calls += 1;
    slot.buckets[bucketOf(ms)]! += 1;
    if (code !== 'OK') slot.errors.set(code, (slot.errors.get(code) ?? 0) + 1);
  }

  /** The topics with a call in this time. */
  state(): HandledState {
    const now = this.#clock.now().mono;
    const first = Math.floor(now / SLOT_MS) - SLOTS + 1;
    const topics: TopicFigures[] = [];
    for (const [kind, counted] of Object.entries(this.#topics) as [HandledKind, Map<string, Slots>][]) {
      for (const [topic, slots] of counted) {
        const recent = slots.filter((slot) => slot !== undefined && slot.minute >= first) as Slot[];
        const calls = recent.reduce((sum, slot) => sum + slot.calls, 0);
        if (calls > 0) topics.push({ kind, topic, calls, errors: errorsOf(recent), durations: durationsOf(recent) });
      }
    }
    return { seconds: Math.round((now - Math.max(this.#since, first * SLOT_MS)) / 1_000), topics };
  }
}

/** The slot of that minute. It replaces the one of an earlier minute. */
function slotOf(slots: Slots, minute: number): Slot {
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
  return Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) * BUCKETS_PER_LOG));
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
