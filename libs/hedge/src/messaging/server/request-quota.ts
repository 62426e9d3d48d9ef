import { HedgeError } from '../../common/errors.js';

export interface QuotaLimits {
  /** The number of requests that run at once. */
  readonly maxRunning: number;
  /**
   * The number of requests of one topic that run at once while no other topic runs. It is lower when other topics run, so
   * that one more topic always has room. Default: `maxRunning`, which means no limit per topic.
   */
  readonly maxRunningPerTopic?: number;
  /** The number of requests that run or whose reply the caller has not acknowledged. */
  readonly maxEntries: number;
  /** The bytes of the payloads of running requests and of the stored replies. */
  readonly maxBytes: number;
}

/** The part of a quota that one caller, or all callers together, hold. */
export class QuotaUse {
  entries = 0;
  bytes = 0;
}

/** The requests of one topic. */
export interface TopicUse {
  running: number;
}

const NOTHING = new QuotaUse();

/** The number of idle topics to keep. A Map with frequent additions and deletions produces garbage: see `SequenceMap`. */
const IDLE_TOPICS = 1_000;

/**
 * Bounds the requests of one pool of slots. Pure.
 *
 * Each topic and each caller gets a share. A topic that runs alone gets `maxRunningPerTopic` slots; a caller that is alone
 * gets half of the entries and bytes. The share shrinks as others hold more, so one more topic or caller always has room.
 */
export class RequestQuota {
  running = 0;
  readonly total = new QuotaUse();
  readonly #topics = new Map<string, TopicUse>();

  constructor(private readonly limits: QuotaLimits) {}

  topic(name: string): TopicUse {
    let use = this.#topics.get(name);
    if (use === undefined) {
      if (this.#topics.size >= IDLE_TOPICS) this.#forgetIdleTopics();
      use = { running: 0 };
      this.#topics.set(name, use);
    }
    return use;
  }

  /** Returns the error for a request of this size if the quota has no room for it now. */
  refusal(name: string, topic: TopicUse, caller: QuotaUse | undefined, bytes: number): HedgeError | undefined {
    const { maxRunning, maxEntries } = this.limits;
    const held = caller ?? NOTHING;
    if (this.running >= maxRunning) {
      return overloaded(name, `${maxRunning} requests run there`, 'limits.maxRunning');
    }
    if (!this.#hasSlot(topic)) {
      const why = `${topic.running} requests of this topic run there, and it must leave room for others`;
      return overloaded(name, why, 'limits.maxRunningPerTopic');
    }
    if (held.entries >= maxEntries - this.total.entries) {
      const why = `it holds ${this.total.entries} requests and replies that are not acknowledged, ${held.entries} of this caller`;
      return overloaded(name, why);
    }
    if (!this.fits(held, bytes)) {
      const why = `requests and replies of ${this.total.bytes} bytes are held there, ${held.bytes} of this caller`;
      return overloaded(name, why);
    }
    return undefined;
  }

  /** Whether a caller may hold this number of additional bytes. */
  fits(caller: QuotaUse, bytes: number): boolean {
    const free = this.limits.maxBytes - this.total.bytes;
    // A single request may use all free bytes. Several requests of one caller leave free as many bytes as they use.
    return caller.bytes === 0 ? bytes <= free : caller.bytes + bytes <= free;
  }

  #hasSlot({ running }: TopicUse): boolean {
    const { maxRunning, maxRunningPerTopic = maxRunning } = this.limits;
    if (maxRunningPerTopic >= maxRunning) return true;
    return running * (maxRunning - maxRunningPerTopic) < maxRunningPerTopic * (maxRunning - this.running);
  }

  #forgetIdleTopics(): void {
    for (const [name, { running }] of this.#topics) if (running === 0) this.#topics.delete(name);
  }
}

function overloaded(name: string, why: string, option?: string): HedgeError {
  const what = name === '' ? 'The request' : `Request '${name}'`;
  const advice = option === undefined ? 'Send fewer at a time' : `Check why they do not end, or raise ${option} there`;
  return new HedgeError('OVERLOADED', `${what} was not started, because its receiver is full: ${why}. ${advice}.`);
}
