import { HedgeError } from '../common/errors.js';
import { failureOf } from '../transport/failure.js';
import type { Reply } from '../transport/wire/hedge/v1/link.js';
import { failureReply } from './reply.js';
import { SequenceMap } from './sequence-map.js';

export interface DuplicateLimits {
  /** Requests that run at once. */
  readonly maxRunning: number;
  /** Requests that run, or whose reply the caller has not acknowledged. */
  readonly maxEntries: number;
  /** Bytes of the payloads of those that run, and of the replies that are kept. */
  readonly maxBytes: number;
}

/** A request at its receiver; the driver's own class extends it. Its mutable fields are those of `Duplicates`. */
export class Entry {
  /** Set once it ended. */
  reply: Reply | undefined;
  /** The caller gave it up, so nobody wants the reply. */
  dropped = false;

  constructor(
    readonly sequence: number,
    /** What it holds in memory: the payload, then the reply. */
    public bytes: number,
  ) {}
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
 * sent, and in its place a failure is kept for the case that the link breaks before the caller has it.
 */
export class Duplicates<E extends Entry = Entry> {
  readonly #callers = new Map<string, SequenceMap<E>>();
  /**
   * By caller: up to this sequence, requests may have run and been forgotten. A caller that came back to be told
   * so, and whose link broke before it heard, must be told again.
   */
  readonly #forgotten = new Map<string, number>();
  #running = 0;
  #entries = 0;
  #bytes = 0;

  constructor(private readonly limits: DuplicateLimits) {}

  /** Requests that run, those that were dropped included; all that are held; and their bytes. */
  get held(): { readonly running: number; readonly entries: number; readonly bytes: number } {
    return { running: this.#running, entries: this.#entries, bytes: this.#bytes };
  }

  /**
   * The entry of a request that arrived before: a duplicate. If it has a reply, send that again; else it runs,
   * and its reply is to be sent over this link when it ends. Undefined for a new request.
   */
  find(caller: string, sequence: number): E | undefined {
    return this.#callers.get(caller)?.get(sequence);
  }

  /**
   * Lets a new request in: the driver starts it, and calls `finish` when it ended.
   * @returns OVERLOADED when there is no room: nothing is kept, and nothing must be started.
   */
  admit(caller: string, entry: E): HedgeError | undefined {
    const full = this.#full(entry.bytes);
    if (full !== undefined) return full;
    this.#entriesOf(caller).set(entry.sequence, entry);
    this.#running += 1;
    this.#entries += 1;
    this.#bytes += entry.bytes;
    return undefined;
  }

  /**
   * A request that was let in has ended. Only the first end counts.
   * @returns whether the caller is to be sent the reply.
   */
  finish(entry: E, reply: Reply, bytes: number): boolean {
    if (entry.reply !== undefined) return false;
    this.#running -= 1;
    if (entry.dropped) {
      entry.reply = reply;
      return false;
    }
    this.#bytes -= entry.bytes;
    const fits = this.#bytes + bytes <= this.limits.maxBytes;
    entry.reply = fits ? reply : notKept(reply);
    entry.bytes = fits ? bytes : 0;
    this.#bytes += entry.bytes;
    return true;
  }

  /** The caller has these replies. */
  acknowledge(caller: string, sequences: readonly number[]): void {
    const entries = this.#callers.get(caller);
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
    const entries = this.#entriesOf(caller);
    const wanted = new Set(outstanding);
    return { known, dropped: this.#removeAll(entries, (entry) => !wanted.has(entry.sequence)) };
  }

  /**
   * Forgets a caller whose links are all closed, for good: a later link of it is told that nothing is known.
   * @returns what still runs, now for nobody.
   */
  forget(caller: string): readonly E[] {
    const entries = this.#callers.get(caller);
    this.#callers.delete(caller);
    this.#forgotten.delete(caller);
    return entries === undefined ? [] : this.#removeAll(entries, () => true);
  }

  /** What runs and is wanted. */
  running(): readonly E[] {
    return [...this.#callers.values()].flatMap((entries) =>
      [...entries.values()].filter(({ reply }) => reply === undefined),
    );
  }

  /** Sequences rise, so what was sent since has a higher one. */
  #awaitsForgotten(caller: string, outstanding: readonly number[]): boolean {
    const upTo = this.#forgotten.get(caller);
    return upTo !== undefined && outstanding.some((sequence) => sequence <= upTo);
  }

  #entriesOf(caller: string): SequenceMap<E> {
    let entries = this.#callers.get(caller);
    if (entries === undefined) {
      entries = new SequenceMap();
      this.#callers.set(caller, entries);
    }
    return entries;
  }

  #removeAll(entries: SequenceMap<E>, unwanted: (entry: E) => boolean): E[] {
    const removed = [...entries.values()].filter(unwanted);
    for (const entry of removed) this.#remove(entries, entry);
    return removed.filter(({ reply }) => reply === undefined);
  }

  #remove(entries: SequenceMap<E>, entry: E): void {
    entries.delete(entry.sequence);
    entry.dropped = true;
    this.#entries -= 1;
    this.#bytes -= entry.bytes;
  }

  #full(bytes: number): HedgeError | undefined {
    const { maxRunning, maxEntries, maxBytes } = this.limits;
    if (this.#running >= maxRunning) return overloaded(`${maxRunning} requests run there`);
    if (this.#entries >= maxEntries) return overloaded(`${maxEntries} requests there have replies on the way`);
    if (this.#bytes + bytes > maxBytes) return overloaded(`requests and replies of ${maxBytes} bytes are held there`);
    return undefined;
  }
}

/** Without spreading: a peer may list more than a call takes arguments. */
function greatest(sequences: readonly number[]): number {
  return sequences.reduce((a, b) => Math.max(a, b));
}

function overloaded(why: string): HedgeError {
  return new HedgeError(
    'OVERLOADED',
    `The receiver is full: ${why}. This request was not started: send fewer at a time, or raise the limit there.`,
  );
}

function notKept({ sequence }: Reply): Reply {
  const error = new HedgeError(
    'OUTCOME_UNKNOWN',
    'The request ran, and its reply was lost, because the receiver had no room to keep it for sending it again. ' +
      'Check its effect before trying again.',
  );
  return failureReply(sequence, failureOf(error));
}
