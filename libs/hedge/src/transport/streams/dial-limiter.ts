import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { onAbort } from '../../common/async/on-abort.js';

interface Waiter {
  readonly start: () => void;
  readonly fail: (error: unknown) => void;
}

/** The dials to one member. */
interface MemberDials {
  dialling: number;
  /** In order of arrival. */
  readonly waiting: Set<Waiter>;
}

/**
 * Limits the number of concurrent handshakes with one member. Further dials wait in order. If hundreds began together,
 * they would share the time limit of a handshake, and all of them would fail on a busy machine. The time limit of a
 * waiting dial starts when its handshake begins.
 *
 * When a handshake finds that the member is unreachable, the waiting dials fail, too: they would fail one after another
 * otherwise. Dials to different members do not wait for each other.
 */
export class DialLimiter {
  readonly #members = new Map<string, MemberDials>();

  constructor(private readonly perMember: number) {}

  /**
   * @throws the signal's reason, when it aborts before the dial begins.
   * @throws the error of the dial, or of an earlier dial that did not reach the member.
   */
  async run<T>(target: MemberId, signal: AbortSignal, dial: () => Promise<T>): Promise<T> {
    const key = `${target.address} ${target.incarnation}`;
    const member = this.#members.get(key) ?? { dialling: 0, waiting: new Set() };
    this.#members.set(key, member);
    // A dial that ends passes its place to the next, so the count stays.
    if (member.dialling < this.perMember) member.dialling += 1;
    else await turn(member, signal);
    try {
      signal.throwIfAborted();
      return await dial();
    } catch (error) {
      if (!signal.aborted && isUnreachable(error)) for (const waiter of member.waiting) waiter.fail(error);
      throw error;
    } finally {
      const [next] = member.waiting;
      if (next !== undefined) next.start();
      else if (--member.dialling === 0) this.#members.delete(key);
    }
  }
}

function turn(member: MemberDials, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      member.waiting.delete(waiter);
      removeListener();
    };
    const waiter: Waiter = {
      start: () => (leave(), resolve()),
      fail: (error) => (leave(), reject(error)),
    };
    const removeListener = onAbort(signal, () => waiter.fail(signal.reason));
    member.waiting.add(waiter);
  });
}

/** A member that refused a dial is reachable: it may accept the next one. */
function isUnreachable(error: unknown): boolean {
  return error instanceof HedgeError && error.code === 'MEMBER_UNREACHABLE' && error.details['refusal'] === undefined;
}
