import type { Clock } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { type FrameBody, type Link, notify, type Transport } from '../transport/transport.js';
import { LockQueue, type QueueNotice } from './lock-queue.core.js';

export interface LockQueueOptions {
  readonly transport: Pick<Transport, 'self' | 'dialled' | 'linked' | 'links'>;
  readonly route: Pick<LeaderRoute, 'current'>;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly makeQueue?: (...made: ConstructorParameters<typeof LockQueue>) => LockQueue;
}

/** The locks of this pod, which are notified. */
export interface LockQueueListener {
  /** Another pod has released the lock, and the leader may have chosen the pod that acquires it next. */
  releasedElsewhere(name: string, token: bigint, successor: string | undefined): void;
  /** This pod is in the queue of the leader, and reads the lease or leaves that to others. */
  queued(name: string, reads: boolean): void;
}

const NOTHING: LockQueueListener = { releasedElsewhere: () => undefined, queued: () => undefined };

/**
 * The queues of pods that wait for locks. A waiting pod reports to the leader that it waits. A pod that releases a lock
 * reports that, too, and the leader notifies the first waiting pod, which tries at once. A lost message costs only time:
 * two pods of each queue read the lease, and all do when the leader is silent.
 *
 * With a member of version 0.1 in the group, which reports nothing, the leader notifies all of each release, as 0.1 does.
 */
export class LockQueueRunner {
  readonly #options: LockQueueOptions;
  #listener = NOTHING;
  /** The locks for which this pod waits, with the monotonic time since when. */
  readonly #waiting = new Map<string, number>();
  #cancelRepeat: (() => void) | undefined;
  /** While this pod leads. */
  #led: { readonly epoch: bigint; readonly queue: LockQueue } | undefined;
  /** Linked members and clients of version 0.1. */
  readonly #older = new Set<string>();

  constructor(options: LockQueueOptions) {
    this.#options = options;
  }

  listen(listener: LockQueueListener): void {
    this.#listener = listener;
  }

  /** This pod waits for a lock that another holds. @param since monotonic */
  wait(name: string, since: number): void {
    this.#waiting.set(name, since);
    this.#report(name, since);
    this.#cancelRepeat ??= this.#options.clock.after(this.#options.leaseMs / 3, () => this.#repeat());
  }

  leave(name: string): void {
    this.#waiting.delete(name);
    this.#report(name, undefined);
    if (this.#waiting.size > 0) return;
    this.#cancelRepeat?.();
    this.#cancelRepeat = undefined;
  }

  /** This pod has released a lock. */
  released(name: string, token: bigint): void {
    const { transport, route } = this.#options;
    const queue = this.#queue();
    if (queue !== undefined) return this.#relay(queue, name, token, transport.self);
    const leader = route.current();
    const notice = lockReleased(name, token, false);
    const link = leader && transport.linked(leader.leader);
    if (link === undefined || !notify(link, notice)) this.#sendToAll(notice);
  }

  /** To call with every frame. @returns whether it was one of these. */
  frame({ peer }: Link, body: FrameBody): boolean {
    if (body.$case === 'lockReleased') {
      const { name, token, relayed, successor } = body.value;
      const queue = relayed ? undefined : this.#queue();
      if (queue === undefined) this.#notifyReleased(name, token, successor || undefined);
      else this.#relay(queue, name, token, peer);
    } else if (body.$case === 'lockWaiting') {
      const { name, waiting, waitedMs } = body.value;
      this.#reported(peer, name, waiting ? waitedMs : undefined);
    } else if (body.$case === 'lockQueued') {
      this.#queued(body.value.name, body.value.reads);
    } else {
      return false;
    }
    return true;
  }

  /** To call with every heartbeat. @param acceptsChanges false in version 0.1 */
  heartbeat({ peer, direction }: Link, acceptsChanges: boolean): void {
    if (direction === 'dialled') return;
    if (acceptsChanges) this.#older.delete(peer.incarnation);
    else this.#older.add(peer.incarnation);
  }

  /** To call when the link from a pod has closed. */
  unlinked({ incarnation }: MemberId): void {
    this.#older.delete(incarnation);
    this.#inform(this.#queue()?.gone(incarnation) ?? []);
  }

  // This pod as one that waits

  #repeat(): void {
    this.#cancelRepeat = this.#options.clock.after(this.#options.leaseMs / 3, () => this.#repeat());
    for (const [name, since] of this.#waiting) this.#report(name, since);
  }

  #report(name: string, since: number | undefined): void {
    const { transport, route, clock } = this.#options;
    const leader = route.current();
    const waitedMs = since === undefined ? undefined : clock.now().mono - since;
    if (leader?.self === true) return this.#reported(transport.self, name, waitedMs);
    const link = leader && transport.dialled(leader.leader);
    const value = { name, waiting: waitedMs !== undefined, waitedMs: waitedMs ?? 0 };
    if (link !== undefined) notify(link, { $case: 'lockWaiting', value });
  }

  #queued(name: string, reads: boolean): void {
    if (this.#waiting.has(name)) this.#listener.queued(name, reads);
    // The report that this pod waits no more was lost.
    else this.#report(name, undefined);
  }

  #notifyReleased(name: string, token: bigint, successor: string | undefined): void {
    // This pod waits no more, and the leader did not know that yet. Another pod must hear of the release.
    if (successor !== undefined && !this.#waiting.has(name)) return this.released(name, token);
    this.#listener.releasedElsewhere(name, token, successor);
  }

  // This pod as the leader

  /** Undefined while this pod does not lead. */
  #queue(): LockQueue | undefined {
    const { route, clock, leaseMs, makeQueue = (...made) => new LockQueue(...made) } = this.#options;
    const leader = route.current();
    if (leader?.self !== true) return (this.#led = undefined);
    if (this.#led?.epoch !== leader.epoch) this.#led = { epoch: leader.epoch, queue: makeQueue(leaseMs, clock.now()) };
    return this.#led.queue;
  }

  #reported(member: MemberId, name: string, waitedMs: number | undefined): void {
    const queue = this.#queue();
    if (queue === undefined) return;
    const { incarnation } = member;
    const now = this.#options.clock.now();
    this.#inform(waitedMs === undefined ? queue.leave(name, incarnation) : queue.wait(name, member, waitedMs, now));
  }

  #relay(queue: LockQueue, name: string, token: bigint, by: MemberId): void {
    const { transport, clock } = this.#options;
    this.#inform(queue.leave(name, by.incarnation));
    const next = this.#older.size > 0 ? 'all' : queue.successor(name, clock.now());
    if (next === undefined) return;
    if (next === 'all') {
      this.#sendToAll(lockReleased(name, token, true), by.incarnation);
      if (by.incarnation !== transport.self.incarnation) this.#notifyReleased(name, token, undefined);
    } else if (next.incarnation === transport.self.incarnation) this.#notifyReleased(name, token, next.incarnation);
    else this.#sendTo(next, lockReleased(name, token, true, next.incarnation));
  }

  #inform(notices: readonly QueueNotice[]): void {
    const { self } = this.#options.transport;
    for (const { to, name, reads } of notices) {
      if (to.incarnation === self.incarnation) this.#queued(name, reads);
      else this.#sendTo(to, { $case: 'lockQueued', value: { name, reads } });
    }
  }

  #sendTo(member: MemberId, body: FrameBody): void {
    const link = this.#options.transport.linked(member);
    if (link !== undefined) notify(link, body);
  }

  /** Sends once to each pod, over any of its links. */
  #sendToAll(notice: FrameBody, except?: string): void {
    const notified = new Set<string | undefined>([except]);
    for (const link of this.#options.transport.links()) {
      const { incarnation } = link.peer;
      if (!notified.has(incarnation) && notify(link, notice)) notified.add(incarnation);
    }
  }
}

function lockReleased(name: string, token: bigint, relayed: boolean, successor = ''): FrameBody {
  return { $case: 'lockReleased', value: { name, token, relayed, successor } };
}
