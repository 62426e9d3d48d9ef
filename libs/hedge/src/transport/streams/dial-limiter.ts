import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { onAbort } from '../../common/async/on-abort.js';

interface Waiter {
  readonly start: () => void;
  readonly fail: (error: unknown) => void;
}

interface Lane {
  dialling: number;
  /** In the order in which they came. */
  readonly waiting: Set<Waiter>;
}

/**
 * Bounds how many handshakes one process has under way with another, and lets the others wait in order. Hundreds that
 * begin together share the time that each has, and all of them fail on a busy machine. What waits has its caller's
 * time, and the time of a handshake only from its own start.
 *
 * When a handshake finds that the member cannot be reached, those that wait for it fail too: they would learn the same,
 * one after another. Members do not wait for each other.
 */
export class DialLimiter {
  private readonly lanes = new Map<string, Lane>();

  constructor(private readonly perMember: number) {}

  /**
   * @throws the signal's reason, when it aborts before the dial begins.
   * @throws what the dial throws, or one before it that did not reach the member.
   */
  async run<T>(target: MemberId, signal: AbortSignal, dial: () => Promise<T>): Promise<T> {
    const key = `${target.address} ${target.incarnation}`;
    const lane = this.lanes.get(key) ?? { dialling: 0, waiting: new Set() };
    this.lanes.set(key, lane);
    // A dial that ends hands its place over, so the count stays.
    if (lane.dialling < this.perMember) lane.dialling += 1;
    else await turn(lane, signal);
    try {
      signal.throwIfAborted();
      return await dial();
    } catch (error) {
      if (!signal.aborted && isUnreachable(error)) for (const waiter of lane.waiting) waiter.fail(error);
      throw error;
    } finally {
      const [next] = lane.waiting;
      if (next !== undefined) next.start();
      else if (--lane.dialling === 0) this.lanes.delete(key);
    }
  }
}

function turn(lane: Lane, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      lane.waiting.delete(waiter);
      removeListener();
    };
    const waiter: Waiter = {
      start: () => (leave(), resolve()),
      fail: (error) => (leave(), reject(error)),
    };
    const removeListener = onAbort(signal, () => waiter.fail(signal.reason));
    lane.waiting.add(waiter);
  });
}

/** A member that answered, be it with a refusal, can be reached: it may accept the next one. */
function isUnreachable(error: unknown): boolean {
  return error instanceof HedgeError && error.code === 'MEMBER_UNREACHABLE' && error.details['refusal'] === undefined;
}
