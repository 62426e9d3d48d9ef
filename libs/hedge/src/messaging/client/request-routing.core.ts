import { backoffMs } from '../../common/backoff.js';
import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { errorOf } from '../../transport/failure.js';
import type { Reply } from '../../wire/hedge/v1/link.js';
import type { ClientCall } from './client-call.js';
import { Deadlines } from '../server/deadlines.js';
import { Peer } from './peer.js';
import type { RoutingEffect, RoutingInput } from './request-routing.messages.js';

/** Inputs after which calls are transmitted, or dialled for. A call that a member has refused is checked in `#refused`. */
const MAY_TRANSMIT: ReadonlySet<RoutingInput<ClientCall>['type']> = new Set([
  'tick',
  'leader',
  'refreshed',
  'linked',
  'unlinked',
  'dial-failed',
]);
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;
/** After this long without a search for the leader, the next one starts without a pause. */
const CALM_MS = 5_000;

/**
 * The caller's side of messaging. It decides where each request goes, whether it is sent again, and how it ends. Pure:
 * `step` receives an input and a monotonic time in milliseconds, and returns the effects in order.
 *
 * Guarantees, if the receiver keeps the protocol (`RequestDeduplicator`):
 * - A call ends exactly once, and not later than its deadline (with the precision of the ticks).
 * - A call to the leader runs at most once in a term. It moves to another term only after the backend has confirmed a
 *   newer one. After the call may have run, it moves at most `maxReruns` times.
 * - Two assignments never use the same sequence. A call that is written again keeps its sequence.
 *
 * The runner must perform the effects in order, acknowledge every reply to its sender (also an unexpected one), list
 * `outstandingAt(receiver)` in the handshake, and pass `linked` before the first frame of that link.
 */
export class RequestRouter<C extends ClientCall = ClientCall> {
  readonly #peers = new Map<string, Peer<C>>();
  readonly #waiting = new Set<C>();
  readonly #deadlines = new Deadlines<C>();
  #leader: MemberId | undefined;
  /** The newest known term. */
  #epoch = 0n;
  #sequence = 0;
  #refreshing = false;
  #refreshAt: number | undefined;
  #refreshes = 0;
  #refreshedAt = -Infinity;
  #effects: RoutingEffect<C>[] = [];

  /** @param random returns numbers in [0, 1), for the jitter of retries. */
  constructor(
    private readonly self: MemberId,
    private readonly random: () => number,
  ) {}

  /** The number of calls that have not ended. */
  get size(): number {
    return this.#deadlines.size;
  }

  /** The sequences of the calls that were transmitted to that incarnation and have not ended. */
  outstandingAt(receiver: MemberId): readonly number[] {
    const peer = this.#peers.get(receiver.incarnation);
    return peer === undefined ? [] : [...peer.sent.keys()];
  }

  step(input: RoutingInput<C>, now: number): readonly RoutingEffect<C>[] {
    this.#effects = [];
    // After a sleep, a link or a leader may come before the timer: a call that has expired is not transmitted (K1).
    if (MAY_TRANSMIT.has(input.type)) for (const call of this.#deadlines.takeExpired(now)) this.#expire(call);
    this.#handle(input, now);
    return this.#effects;
  }

  #handle(input: RoutingInput<C>, now: number): void {
    switch (input.type) {
      case 'begin':
        return this.#begin(input.call, now);
      case 'replied':
        return this.#replied(input.member, input.reply, now);
      case 'leader':
        return this.#leaderIs(input.leader, input.epoch, now);
      case 'refreshed':
        return this.#refreshed(now);
      case 'linked':
        return this.#linked(input.member, input.resumed);
      case 'unlinked':
        return this.#unlinked(input.member, now);
      case 'dial-failed':
        return this.#dialFailed(input.member, input.error, now);
      case 'not-transmitted':
        return this.#notTransmitted(input.call, input.error);
      case 'abandoned':
        return this.#abandoned(input.call, input.reason);
      case 'departed':
        return this.#departed(input.member);
      case 'tick':
        return this.#tick(now);
      case 'close':
        for (const call of this.#deadlines.takeAll()) {
          this.#fail(call, call.mayHaveRun ? call.outcomeUnknown('this pod closed its links') : input.error);
        }
    }
  }

  #begin(call: C, now: number): void {
    this.#deadlines.add(call);
    const { to } = call.request;
    if (to === 'leader') this.#toLeader(call, now);
    else this.#assign(call, to, 0n, now);
  }

  #replied(member: MemberId, reply: Reply, now: number): void {
    const call = this.#peers.get(member.incarnation)?.sent.get(reply.sequence);
    if (call === undefined) return;
    const { failure } = reply;
    if (failure?.code === 'NOT_LEADER' && call.request.to === 'leader') {
      return this.#refused(call, !failure.retryable, now);
    }
    if (failure === undefined) {
      this.#end(call);
      this.#effects.push({ type: 'resolve', call, reply });
    } else {
      const error = errorOf(failure);
      // A leader knows only about its own term that it did not start the work.
      const unknown = call.mayHaveRunBefore && saysNotStarted(error);
      this.#fail(call, unknown ? call.outcomeUnknown(`the next leader did not start it (${error.message})`) : error);
    }
  }

  /** @param begun the call ran, and the loss of the lease interrupted it. */
  #refused(call: C, begun: boolean, now: number): void {
    if (begun && !this.#mayRunAgain(call, 'its leader lost the lease')) return;
    call.mayHaveRunBefore ||= begun;
    this.#unassign(call);
    if (call.deadline <= now) return this.#expire(call);
    // The same pod may not know yet that it is the leader. So the call is sent to it again, but not at once.
    this.#waiting.add(call);
    if (this.#leader !== undefined && this.#epoch > call.epoch) this.#toLeader(call, now);
    else this.#seek(now);
  }

  #leaderIs(leader: MemberId | undefined, epoch: bigint, now: number): void {
    if (leader === undefined) {
      this.#leader = undefined;
      return;
    }
    if (epoch < this.#epoch) return;
    const newer = epoch > this.#epoch;
    const changed = newer || this.#leader === undefined;
    this.#leader = leader;
    this.#epoch = epoch;
    if (newer) {
      this.#refreshes = 0;
      this.#recallOlderTerms();
    }
    if (changed) for (const call of this.#waiting) this.#toLeader(call, now);
  }

  /** Reassigns the calls of earlier terms to the new leader, because those terms have ended. */
  #recallOlderTerms(): void {
    for (const peer of this.#peers.values()) {
      for (const call of peer.calls()) {
        if (call.request.to !== 'leader' || call.epoch >= this.#epoch) continue;
        if (call.transmissions > 0 && !this.#mayRunAgain(call, 'another leader was elected')) continue;
        call.mayHaveRunBefore = call.mayHaveRun;
        this.#unassign(call);
        this.#waiting.add(call);
      }
    }
  }

  /**
   * Call this when the leader of a call was lost while the call may have run.
   * @returns false if the call has ended, because `maxReruns` is exceeded.
   */
  #mayRunAgain(call: C, why: string): boolean {
    call.lostLeaders += 1;
    const { maxReruns = Infinity } = call.request;
    const again = call.lostLeaders <= maxReruns;
    const leader = call.receiver;
    if (leader !== undefined) this.#effects.push({ type: 'leader-lost', call, leader, again });
    if (!again) this.#fail(call, call.outcomeUnknown(why));
    return again;
  }

  #toLeader(call: C, now: number): void {
    if (this.#leader === undefined) {
      this.#waiting.add(call);
      return this.#seek(now);
    }
    call.knewLeader = true;
    this.#waiting.delete(call);
    this.#assign(call, this.#leader, this.#epoch, now);
  }

  #assign(call: C, member: MemberId, epoch: bigint, now: number): void {
    call.receiver = member;
    call.epoch = epoch;
    const peer = this.#peer(member);
    if (peer.link === 'up') return this.#transmit(peer, call);
    peer.queued.add(call);
    this.#dial(peer, now);
  }

  #unassign(call: C): void {
    const peer = call.receiver && this.#peers.get(call.receiver.incarnation);
    if (peer !== undefined) {
      peer.sent.delete(call.sequence);
      peer.queued.delete(call);
      this.#drop(peer);
    }
    call.receiver = undefined;
    call.sequence = 0;
    call.transmissions = 0;
  }

  #transmit(peer: Peer<C>, call: C): void {
    if (call.sequence === 0) {
      this.#sequence += 1;
      call.sequence = this.#sequence;
      call.attempt += 1;
      peer.sent.set(call.sequence, call);
    }
    call.transmissions += 1;
    this.#effects.push({ type: 'transmit', member: peer.member, call });
  }

  #notTransmitted(call: C, error: HedgeError): void {
    const peer = call.receiver && this.#peers.get(call.receiver.incarnation);
    if (peer === undefined) return;
    call.transmissions -= 1;
    if (call.mayHaveRun && error.code === 'OVERLOADED') peer.queued.add(call);
    else this.#fail(call, error);
  }

  // Links

  #linked(member: MemberId, resumed: boolean): void {
    const peer = this.#peer(member);
    peer.link = 'up';
    peer.dialFailures = 0;
    peer.error = undefined;
    for (const call of peer.sent.values()) {
      if (resumed || call.transmissions === 0) peer.queued.add(call);
      else this.#fail(call, call.outcomeUnknown('the link was lost for so long that the receiver forgot it'));
    }
    this.#flush(peer);
  }

  #flush(peer: Peer<C>): void {
    for (const call of peer.queued) this.#transmit(peer, call);
    peer.queued.clear();
  }

  #unlinked(member: MemberId, now: number): void {
    const peer = this.#peers.get(member.incarnation);
    if (peer === undefined) return;
    peer.link = 'down';
    if (peer.hasCalls) this.#dial(peer, now);
    else this.#drop(peer);
  }

  #dial(peer: Peer<C>, now: number): void {
    if (peer.link !== 'down' || now < peer.dialAt) return;
    peer.link = 'dialling';
    this.#effects.push({ type: 'dial', member: peer.member });
  }

  #dialFailed(member: MemberId, error: HedgeError, now: number): void {
    const peer = this.#peers.get(member.incarnation);
    if (peer === undefined || peer.link !== 'dialling') return;
    peer.link = 'down';
    peer.error = error;
    peer.dialFailures += 1;
    peer.dialAt = now + this.#pause(peer.dialFailures);
    const replaced = 'incarnation' in error.details;
    let leaderIsAway = false;
    for (const call of peer.calls()) {
      if (call.request.to === 'leader') leaderIsAway = true;
      else if (call.transmissions === 0) this.#fail(call, call.unreachable(peer.member, peer.error));
      else if (replaced) this.#fail(call, call.outcomeUnknown('the pod was restarted'));
    }
    if (leaderIsAway) this.#seek(now);
    this.#drop(peer);
  }

  #departed(member: MemberId): void {
    const peer = this.#peers.get(member.incarnation);
    if (peer === undefined || peer.link === 'up') return;
    for (const call of peer.calls()) {
      if (call.request.to === 'leader') continue;
      const lost = call.transmissions > 0;
      this.#fail(
        call,
        lost ? call.outcomeUnknown('the pod left the group') : call.unreachable(peer.member, peer.error),
      );
    }
  }

  #peer(member: MemberId): Peer<C> {
    let peer = this.#peers.get(member.incarnation);
    if (peer === undefined) {
      peer = new Peer(member, member.incarnation === this.self.incarnation ? 'up' : 'down');
      this.#peers.set(member.incarnation, peer);
    }
    return peer;
  }

  /** Removes a peer that has no link and no calls, because pods come and go. */
  #drop(peer: Peer<C>): void {
    if (peer.link === 'down' && !peer.hasCalls) this.#peers.delete(peer.member.incarnation);
  }

  // Time

  #tick(now: number): void {
    for (const peer of this.#peers.values()) {
      if (peer.queued.size > 0 && peer.link === 'up') this.#flush(peer);
      else if (peer.hasCalls) this.#dial(peer, now);
    }
    if (this.#refreshAt !== undefined && now >= this.#refreshAt) this.#refresh(now);
  }

  /** Searches for a leader: the first time at once, then with growing pauses until one is found. */
  #seek(now: number): void {
    if (this.#refreshing || this.#refreshAt !== undefined) return;
    if (now - this.#refreshedAt > CALM_MS) this.#refreshes = 0;
    if (this.#refreshes === 0) this.#refresh(now);
    else this.#refreshAt = now + this.#pause(this.#refreshes);
  }

  #refresh(now: number): void {
    this.#refreshAt = undefined;
    this.#refreshedAt = now;
    this.#refreshing = true;
    this.#refreshes += 1;
    this.#effects.push({ type: 'refresh' });
  }

  #refreshed(now: number): void {
    this.#refreshing = false;
    for (const call of this.#waiting) this.#toLeader(call, now);
  }

  #pause(failures: number): number {
    return backoffMs(failures, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, this.random());
  }

  // Ends

  #expire(call: C): void {
    const peer = call.receiver && this.#peers.get(call.receiver.incarnation);
    if (call.request.to === 'leader' && !call.knewLeader) return this.#fail(call, call.noLeader());
    if (peer !== undefined && peer.link !== 'up') {
      if (!call.mayHaveRun) return this.#fail(call, call.unreachable(peer.member, peer.error));
      if (call.request.to !== 'leader') {
        return this.#fail(call, call.outcomeUnknown('the link was lost and could not be opened again'));
      }
    }
    this.#fail(call, call.deadlineExceeded());
  }

  #abandoned(call: C, reason: unknown): void {
    const { receiver, sequence } = call;
    if (receiver !== undefined && call.transmissions > 0 && this.#peers.get(receiver.incarnation)?.link === 'up') {
      this.#effects.push({ type: 'cancel', member: receiver, sequence });
    }
    this.#fail(call, reason);
  }

  #fail(call: C, error: unknown): void {
    this.#end(call);
    this.#effects.push({ type: 'reject', call, error });
  }

  #end(call: C): void {
    this.#deadlines.delete(call);
    this.#waiting.delete(call);
    this.#unassign(call);
  }
}

function saysNotStarted({ retryable, code, details }: HedgeError): boolean {
  return retryable || code === 'INVALID_ARGUMENT' || code === 'NO_HANDLER' || details['started'] === false;
}
