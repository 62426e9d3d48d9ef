import { HedgeError } from '../../common/errors.js';
import { failureOf } from '../../transport/failure.js';
import type { Reply } from '../../wire/hedge/v1/link.js';
import { failureReply } from '../message.js';
import { type QuotaLimits, QuotaUse, RequestQuota, type TopicUse } from './request-quota.js';
import { SequenceMap } from '../client/sequence-map.js';
import { HANDLER_SLOTS } from '../request-type.js';

/** A request on its receiver. The runner's class extends it. Only `RequestDeduplicator` changes the mutable fields. */
export class Entry {
  /** Set when the request has ended. */
  reply: Reply | undefined;
  /** The caller abandoned the request, so it needs no reply. */
  dropped = false;
  /** The quota use that counts this entry, while the entry is held. */
  use: QuotaUse | undefined;
  topicUse: TopicUse | undefined;

  constructor(
    readonly sequence: number,
    /** The bytes that the entry holds in memory: of the payload, then of the reply. */
    public bytes: number,
    /** The pool of slots and bytes. */
    readonly slots: string = HANDLER_SLOTS,
    /** The topic. Requests with the same subject share a limit. */
    readonly subject: string = '',
  ) {}
}

/** A caller that the deduplicator remembers. */
class Known<E extends Entry> {
  readonly entries = new SequenceMap<E>();
  /** By pool of slots. */
  readonly #uses = new Map<string, QuotaUse>();

  use(slots: string): QuotaUse {
    let use = this.#uses.get(slots);
    if (use === undefined) {
      use = new QuotaUse();
      this.#uses.set(slots, use);
    }
    return use;
  }
}

/**
 * The receiver's side of messaging. It recognises duplicate requests. Pure: no clock, network or promises.
 *
 * A caller (an incarnation) and a sequence identify a request. A caller never uses a sequence again. The deduplicator
 * admits a request at most once, if the caller keeps the protocol:
 * - On a new link, the caller first lists the requests that it still waits for (`resume`). The receiver forgets the rest.
 * - After that, no frame of an older link arrives. The transport guarantees this.
 * - The caller writes a request to a link at most once.
 * - If the receiver does not remember a request (`resume` returned false), the caller never sends it again.
 * - The caller acknowledges each reply separately, so that a slow request does not keep other entries in memory.
 *
 * The runner sends a reply only over the link on which the request or its duplicate arrived last. So when an
 * acknowledgement arrives, no duplicate is in flight, even if the acknowledgement overtook other frames.
 *
 * Memory is bounded. When a pool is full, the deduplicator refuses new work rather than forget an entry. A reply that
 * does not fit is sent once. A failure is stored in its place, for the case that the link breaks before the caller
 * receives the reply. Each pool of slots has separate bounds, and each caller and topic gets a share (`RequestQuota`).
 */
export class RequestDeduplicator<E extends Entry = Entry> {
  readonly #callers = new Map<string, Known<E>>();
  /**
   * By caller: requests up to this sequence may have run, and this receiver has forgotten them. If the link of a returned
   * caller breaks before it receives that answer, the answer is repeated on the next link.
   */
  readonly #forgotten = new Map<string, number>();
  /** By pool of slots. */
  readonly #quotas = new Map<string, RequestQuota>();

  /** @param limits apply to each pool of slots. */
  constructor(private readonly limits: QuotaLimits) {}

  /** The number of running requests (with dropped ones), the number of all held requests, and their bytes. */
  get held(): { readonly running: number; readonly entries: number; readonly bytes: number } {
    const held = { running: 0, entries: 0, bytes: 0 };
    for (const { running, total } of this.#quotas.values()) {
      held.running += running;
      held.entries += total.entries;
      held.bytes += total.bytes;
    }
    return held;
  }

  /**
   * Returns the entry of a duplicate, or undefined for a new request. If the entry has a reply, send the reply again.
   * Otherwise the request still runs; send its reply over this link when it ends.
   */
  find(caller: string, sequence: number): E | undefined {
    return this.#callers.get(caller)?.entries.get(sequence);
  }

  /**
   * Admits a new request. The runner then starts it, and calls `finish` when it has ended.
   * @returns OVERLOADED if there is no room. Then no entry is kept, and the runner must not start the request.
   */
  admit(caller: string, entry: E): HedgeError | undefined {
    const { slots, subject, bytes } = entry;
    const quota = this.#quota(slots);
    const topic = quota.topic(subject);
    const refusal = quota.refusal(subject, topic, this.#callers.get(caller)?.use(slots), bytes);
    if (refusal !== undefined) return refusal;
    const known = this.#known(caller);
    const use = known.use(slots);
    known.entries.set(entry.sequence, entry);
    entry.use = use;
    entry.topicUse = topic;
    topic.running += 1;
    quota.running += 1;
    for (const held of [use, quota.total]) {
      held.entries += 1;
      held.bytes += bytes;
    }
    return undefined;
  }

  /**
   * Records that an admitted request has ended. Only the first end counts.
   * @returns whether the runner must send the reply to the caller.
   */
  finish(entry: E, reply: Reply, bytes: number): boolean {
    if (entry.reply !== undefined) return false;
    const quota = this.#quota(entry.slots);
    quota.running -= 1;
    if (entry.topicUse !== undefined) entry.topicUse.running -= 1;
    if (entry.use === undefined) {
      entry.reply = reply;
      return false;
    }
    this.#addBytes(entry.use, quota, -entry.bytes);
    const fits = quota.fits(entry.use, bytes);
    entry.reply = fits ? reply : notKept(reply);
    entry.bytes = fits ? bytes : 0;
    this.#addBytes(entry.use, quota, entry.bytes);
    return true;
  }

  /** Records that the caller has received these replies. */
  acknowledge(caller: string, sequences: readonly number[]): void {
    const entries = this.#callers.get(caller)?.entries;
    if (entries === undefined) return;
    for (const sequence of sequences) {
      const entry = entries.get(sequence);
      if (entry?.reply !== undefined) this.#remove(entries, entry);
    }
  }

  /**
   * Call this on a new link of the caller, with all requests that the caller still waits for.
   * @returns `known`: whether each of these requests is remembered or never arrived. `dropped`: the running requests that
   *   the caller no longer waits for.
   */
  resume(caller: string, outstanding: readonly number[]): { known: boolean; dropped: readonly E[] } {
    const known = this.#callers.has(caller) && !this.#awaitsForgotten(caller, outstanding);
    if (!known && outstanding.length > 0) this.#forgotten.set(caller, greatest(outstanding));
    const { entries } = this.#known(caller);
    const wanted = new Set(outstanding);
    return { known, dropped: this.#removeAll(entries, (entry) => !wanted.has(entry.sequence)) };
  }

  /**
   * Forgets a caller without open links. On its next link, `resume` reports that it is not known.
   * @returns the requests of the caller that still run.
   */
  forget(caller: string): readonly E[] {
    const entries = this.#callers.get(caller)?.entries;
    this.#callers.delete(caller);
    this.#forgotten.delete(caller);
    return entries === undefined ? [] : this.#removeAll(entries, () => true);
  }

  /** The running requests for which a caller waits. */
  running(): readonly E[] {
    return [...this.#callers.values()].flatMap(({ entries }) =>
      [...entries.values()].filter(({ reply }) => reply === undefined),
    );
  }

  /** Sequences rise, so a request that was sent later has a higher one. */
  #awaitsForgotten(caller: string, outstanding: readonly number[]): boolean {
    const upTo = this.#forgotten.get(caller);
    return upTo !== undefined && outstanding.some((sequence) => sequence <= upTo);
  }

  #quota(slots: string): RequestQuota {
    let quota = this.#quotas.get(slots);
    if (quota === undefined) {
      // Only handlers of the app have topics.
      const { maxRunningPerTopic: _, ...withoutTopics } = this.limits;
      quota = new RequestQuota(slots === HANDLER_SLOTS ? this.limits : withoutTopics);
      this.#quotas.set(slots, quota);
    }
    return quota;
  }

  #known(caller: string): Known<E> {
    let known = this.#callers.get(caller);
    if (known === undefined) {
      known = new Known();
      this.#callers.set(caller, known);
    }
    return known;
  }

  #removeAll(entries: SequenceMap<E>, unwanted: (entry: E) => boolean): E[] {
    const removed = [...entries.values()].filter(unwanted);
    for (const entry of removed) this.#remove(entries, entry);
    return removed.filter(({ reply }) => reply === undefined);
  }

  #remove(entries: SequenceMap<E>, entry: E): void {
    entries.delete(entry.sequence);
    entry.dropped = true;
    const { use, slots, bytes } = entry;
    if (use === undefined) return;
    entry.use = undefined;
    const quota = this.#quota(slots);
    this.#addBytes(use, quota, -bytes);
    use.entries -= 1;
    quota.total.entries -= 1;
  }

  #addBytes(use: QuotaUse, { total }: RequestQuota, bytes: number): void {
    use.bytes += bytes;
    total.bytes += bytes;
  }
}

/** It does not spread the list, because a peer may list more sequences than a call can have arguments. */
function greatest(sequences: readonly number[]): number {
  return sequences.reduce((a, b) => Math.max(a, b));
}

function notKept({ sequence }: Reply): Reply {
  const error = new HedgeError(
    'OUTCOME_UNKNOWN',
    'The request ran, and its reply was lost, because the receiver had no room to store the reply. ' +
      'Check its effect before trying again.',
  );
  return failureReply(sequence, failureOf(error));
}
