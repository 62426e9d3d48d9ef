import { HedgeError } from '../../common/errors.js';
import { failureOf } from '../../transport/failure.js';
import type { Reply } from '../../wire/hedge/v1/link.js';
import { failureReply } from '../message.js';
import { type QuotaLimits, QuotaUse, RequestQuota, type TopicUse } from './request-quota.js';
import { SequenceMap } from '../client/sequence-map.js';
import { HANDLER_SLOTS } from '../request-type.js';

/** A request at its receiver; the driver's own class extends it. Its mutable fields are those of `RequestDeduplicator`. */
export class Entry {
  /** Set once it ended. */
  reply: Reply | undefined;
  /** The caller gave it up, so nobody wants the reply. */
  dropped = false;
  /** What it counts in, while it is held. */
  use: QuotaUse | undefined;
  topicUse: TopicUse | undefined;

  constructor(
    readonly sequence: number,
    /** What it holds in memory: the payload, then the reply. */
    public bytes: number,
    /** Its pool of slots and bytes. */
    readonly slots: string = HANDLER_SLOTS,
    /** Its topic: requests of one subject share a limit. */
    readonly subject: string = '',
  ) {}
}

/** A caller that is remembered. */
class Known<E extends Entry> {
  readonly entries = new SequenceMap<E>();
  /** By pool. */
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
 * The receiver's side of messaging: which requests are duplicates. Pure: no clock, network or promises.
 *
 * A request is named by its caller (an incarnation) and a sequence, which the caller never uses again. The
 * guarantee: a named request is let in at most once, as long as the caller keeps the protocol:
 * - on a new link it lists, before anything else, what it still waits for (`resume`); the rest is forgotten;
 * - a frame of an older link never arrives after that (the transport sees to it);
 * - it writes a request to a link at most once;
 * - what it had sent and the receiver does not remember (`resume` returned false) it never sends again;
 * - it acknowledges each reply, one by one, so that a slow request does not hold up the forgetting of others;
 * and the driver sends a reply only over the link that the request, or its duplicate, arrived on last. So when
 * an acknowledgement arrives, no duplicate is still under way, even if the acknowledgement overtook frames.
 *
 * Bounded: when full, new work is refused rather than an entry forgotten. A reply that does not fit is
 * sent, and in its place a failure is kept for the case that the link breaks before the caller has it. Each pool of
 * slots has bounds of its own, and each caller and topic a share of them (`RequestQuota`).
 */
export class RequestDeduplicator<E extends Entry = Entry> {
  readonly #callers = new Map<string, Known<E>>();
  /**
   * By caller: requests up to this sequence may have run and been forgotten. When the link of a returned caller breaks
   * before it receives that answer, the next link must get it again.
   */
  readonly #forgotten = new Map<string, number>();
  /** By pool of slots. */
  readonly #quotas = new Map<string, RequestQuota>();

  /** @param limits of each pool of slots. */
  constructor(private readonly limits: QuotaLimits) {}

  /** Requests that run, those that were dropped included; all that are held; and their bytes. */
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
   * The entry of a request that arrived before: a duplicate. If it has a reply, send that again; else it runs,
   * and its reply is to be sent over this link when it ends. Undefined for a new request.
   */
  find(caller: string, sequence: number): E | undefined {
    return this.#callers.get(caller)?.entries.get(sequence);
  }

  /**
   * Lets a new request in: the driver starts it, and calls `finish` when it ended.
   * @returns OVERLOADED when there is no room: nothing is kept, and nothing must be started.
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
   * A request that was let in has ended. Only the first end counts.
   * @returns whether the caller is to be sent the reply.
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

  /** The caller has these replies. */
  acknowledge(caller: string, sequences: readonly number[]): void {
    const entries = this.#callers.get(caller)?.entries;
    if (entries === undefined) return;
    for (const sequence of sequences) {
      const entry = entries.get(sequence);
      if (entry?.reply !== undefined) this.#remove(entries, entry);
    }
  }

  /**
   * A new link of the caller: it waits for these and for nothing else.
   * @returns whether everything that it waits for is remembered, or never arrived; and what still runs, now for
   * nobody.
   */
  resume(caller: string, outstanding: readonly number[]): { known: boolean; dropped: readonly E[] } {
    const known = this.#callers.has(caller) && !this.#awaitsForgotten(caller, outstanding);
    if (!known && outstanding.length > 0) this.#forgotten.set(caller, greatest(outstanding));
    const { entries } = this.#known(caller);
    const wanted = new Set(outstanding);
    return { known, dropped: this.#removeAll(entries, (entry) => !wanted.has(entry.sequence)) };
  }

  /**
   * Forgets a caller whose links are all closed. A later link of it learns that nothing is known.
   * @returns requests that still run, without a caller.
   */
  forget(caller: string): readonly E[] {
    const entries = this.#callers.get(caller)?.entries;
    this.#callers.delete(caller);
    this.#forgotten.delete(caller);
    return entries === undefined ? [] : this.#removeAll(entries, () => true);
  }

  /** What runs and is wanted. */
  running(): readonly E[] {
    return [...this.#callers.values()].flatMap(({ entries }) =>
      [...entries.values()].filter(({ reply }) => reply === undefined),
    );
  }

  /** Sequences rise, so what was sent since has a higher one. */
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

/** Without spreading: a peer may list more sequences than a call can have arguments. */
function greatest(sequences: readonly number[]): number {
  return sequences.reduce((a, b) => Math.max(a, b));
}

function notKept({ sequence }: Reply): Reply {
  const error = new HedgeError(
    'OUTCOME_UNKNOWN',
    'The request ran, and its reply was lost, because the receiver had no room to keep it for sending it again. ' +
      'Check its effect before trying again.',
  );
  return failureReply(sequence, failureOf(error));
}
