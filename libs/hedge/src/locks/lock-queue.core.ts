import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';

/** The leader notifies a waiting pod whether it is one of those that read the lease of the lock. */
export interface QueueNotice {
  readonly to: MemberId;
  readonly name: string;
  readonly reads: boolean;
}

interface WaitingPod {
  readonly member: MemberId;
  /** Monotonic time since when it waits. */
  readonly since: number;
  heardAt: Instant;
  /** As in the last notice. */
  reads: boolean;
}

/** The second pod of a queue finds a lock that the first one was notified of, and did not acquire. */
const READERS = 2;

/** Of all locks together. Any further pod reads the lease as if there were no queue. */
const MOST_WAITING = 50_000;

/**
 * The pods that wait for locks, in the order in which they began to wait: the leader's part of `LockQueueRunner`. So a
 * lock costs the database the same with 3 waiting pods and with 300: two of them read its lease, and one tries when
 * another pod has released it.
 *
 * The queue only decides who tries when; the database decides who holds the lock. It is not stored: pods repeat that they
 * wait, and a pod that has not done so for a whole lease is dropped. Pure; one instance per term.
 */
export class LockQueue {
  /** By the name of the lock. */
  readonly #queues = new Map<string, WaitingPod[]>();
  #size = 0;
  #sweptAt: Instant;

  constructor(
    private readonly leaseMs: number,
    private readonly startedAt: Instant,
  ) {
    this.#sweptAt = startedAt;
  }

  /** A pod waits for a lock, or still does. The notices are for it, and for pods that have become the first. */
  wait(name: string, member: MemberId, waitedMs: number, now: Instant): QueueNotice[] {
    this.#keep(name, (pod) => !this.#isSilent(pod, now));
    const queue = this.#queues.get(name) ?? [];
    let pod = queue.find(isOf(member.incarnation));
    if (pod === undefined) {
      if (this.#size >= MOST_WAITING) return this.#sweep(now);
      pod = { member, since: now.mono - waitedMs, heardAt: now, reads: false };
      const { since } = pod;
      const place = queue.findIndex((other) => other.since > since);
      queue.splice(place === -1 ? queue.length : place, 0, pod);
      this.#queues.set(name, queue);
      this.#size += 1;
    }
    pod.heardAt = now;
    pod.reads = queue.indexOf(pod) < READERS;
    return [{ to: pod.member, name, reads: pod.reads }, ...this.#newReaders(name), ...this.#sweep(now)];
  }

  /** A pod no longer waits. The notices are for pods that have become the first. */
  leave(name: string, incarnation: string): QueueNotice[] {
    this.#keep(name, (pod) => !isOf(incarnation)(pod));
    return this.#newReaders(name);
  }

  /** A pod has no link to the leader any more. */
  gone(incarnation: string): QueueNotice[] {
    return [...this.#queues.keys()].flatMap((name) => this.leave(name, incarnation));
  }

  /**
   * A lock was released.
   * @returns the pod to notify; `all` while pods may wait that this leader has not heard of yet; undefined for none.
   */
  successor(name: string, now: Instant): MemberId | 'all' | undefined {
    const first = this.#queues.get(name)?.[0];
    if (first !== undefined) return first.member;
    return shortestElapsed(this.startedAt, now) < this.leaseMs ? 'all' : undefined;
  }

  #newReaders(name: string): QueueNotice[] {
    const first = this.#queues.get(name)?.slice(0, READERS) ?? [];
    return first.flatMap((pod) => {
      if (pod.reads) return [];
      pod.reads = true;
      return [{ to: pod.member, name, reads: true }];
    });
  }

  /** Removes pods that have ended without a notice. */
  #sweep(now: Instant): QueueNotice[] {
    if (shortestElapsed(this.#sweptAt, now) < this.leaseMs) return [];
    this.#sweptAt = now;
    return [...this.#queues.keys()].flatMap((name) => {
      this.#keep(name, (pod) => !this.#isSilent(pod, now));
      return this.#newReaders(name);
    });
  }

  #isSilent({ heardAt }: WaitingPod, now: Instant): boolean {
    return shortestElapsed(heardAt, now) >= this.leaseMs;
  }

  #keep(name: string, keeps: (pod: WaitingPod) => boolean): void {
    const queue = this.#queues.get(name);
    if (queue === undefined) return;
    const kept = queue.filter(keeps);
    this.#size -= queue.length - kept.length;
    if (kept.length > 0) this.#queues.set(name, kept);
    else this.#queues.delete(name);
  }
}

function isOf(incarnation: string): (pod: WaitingPod) => boolean {
  return ({ member }) => member.incarnation === incarnation;
}
