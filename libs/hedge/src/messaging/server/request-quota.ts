import { HedgeError } from '../../common/errors.js';

export interface QuotaLimits {
  /** Requests that run at once. */
  readonly maxRunning: number;
  /**
   * Requests of one topic that run at once while no other topic runs; fewer when others do, so that there is always
   * room for one more topic. Default: `maxRunning`, which is no limit.
   */
  readonly maxRunningPerTopic?: number;
  /** Requests that run, or whose reply the caller has not acknowledged. */
  readonly maxEntries: number;
  /** Bytes of the payloads of those that run, and of the replies that are kept. */
  readonly maxBytes: number;
}

/** What one caller, or all together, hold of a quota. */
export class QuotaUse {
  entries = 0;
  bytes = 0;
}

/** Requests of one topic. */
export interface TopicUse {
  running: number;
}

const NOTHING = new QuotaUse();

/** Topics without running requests are kept up to this many: a Map that entries pass through leaves garbage behind. */
const IDLE_TOPICS = 1_000;

/**
 * Bounds the requests of one pool of slots. Pure.
 *
 * One topic, and one caller, get a share: while they are alone it is `maxRunningPerTopic`, or half of the entries and
 * bytes; the more others hold, the less it is. So each that holds too much leaves room for the next.
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

  /** Why a request with so many bytes cannot be let in now. */
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

  /** Whether a caller may hold so many bytes more. */
  fits(caller: QuotaUse, bytes: number): boolean {
    const free = this.limits.maxBytes - this.total.bytes;
    // One request may have all that is free; several of one caller leave as much free as they take.
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
  const advice = option === undefined ? 'Send fewer at a time' : `See why they do not end, or raise ${option} there`;
  return new HedgeError('OVERLOADED', `${what} was not started, because its receiver is full: ${why}. ${advice}.`);
}
