import { HedgeError } from '../common/errors.js';

export interface GetLimits {
  /** Keys in one call to the database. */
  readonly maxKeys: number;
  /** Calls in flight at once. */
  readonly maxCalls: number;
}

export type GetOutcome<Entry> = { readonly entry: Entry | undefined } | { readonly error: unknown };

export type GetInput<Entry> =
  /** `ticket` is the name of this get in the runner. */
  | { readonly type: 'get'; readonly ticket: number; readonly key: string }
  /** The caller waits no longer. */
  | { readonly type: 'cancel'; readonly ticket: number }
  /** The turn of a `flush-later` effect has ended. */
  | { readonly type: 'flush' }
  /** The result of the `read` effect with this number. Keys that are not in it were not read. */
  | { readonly type: 'answered'; readonly call: number; readonly found: ReadonlyMap<string, Entry | undefined> }
  | { readonly type: 'failed'; readonly call: number; readonly error: unknown };

export type GetEffect<Entry> =
  /** Read the newest versions of these keys in a call that begins now, and pass back `answered` or `failed`. */
  | { readonly type: 'read'; readonly call: number; readonly keys: readonly string[] }
  /** Settle one get; exactly once for each ticket that was not cancelled. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: GetOutcome<Entry> }
  /** Pass back `flush` at the end of this turn of the event loop. At most one is outstanding. */
  | { readonly type: 'flush-later' };

/** The tickets of the gets of each key. */
type Reads = Map<string, number[]>;

/**
 * Combines concurrent gets into few calls to the database. Pure: `step` accepts an input, and returns effects. The runner
 * (`KvReader`, or the simulation) performs them and passes the results back.
 *
 * - **A get is answered only by a call that began after the get (K2).** So a get never joins a call that is in flight,
 *   not even one that reads the same key: that call may have read before a put that this caller knows of.
 * - The gets of one turn of the event loop share a call. While `maxCalls` are in flight, later gets wait and share the
 *   next call, so the calls grow with the load. Waiting gets of one key share one read.
 * - A call may leave keys out (large values). They are read again, in smaller calls for as long as keys are left out.
 * - A call that the database rejects for another reason than its own state is halved, until the key at fault is alone
 *   and its gets fail.
 */
export class GetBatcher<Entry> {
  readonly #open = new Set<number>();
  #waiting: Reads = new Map();
  /** Keys that were left out, and halves of rejected calls. Others never join them. */
  readonly #again: Reads[] = [];
  readonly #calls = new Map<number, Reads>();
  #lastCall = 0;
  #maxKeys: number;
  #flushes = false;
  #effects: GetEffect<Entry>[] = [];

  constructor(private readonly limits: GetLimits) {
    this.#maxKeys = limits.maxKeys;
  }

  step(input: GetInput<Entry>): readonly GetEffect<Entry>[] {
    this.#effects = [];
    switch (input.type) {
      case 'get':
        this.#open.add(input.ticket);
        ticketsOf(this.#waiting, input.key).push(input.ticket);
        break;
      case 'cancel':
        this.#open.delete(input.ticket);
        return [];
      case 'flush':
        this.#flushes = false;
        this.#start();
        return this.#effects;
      case 'answered':
        this.#answered(this.#end(input.call), input.found);
        break;
      case 'failed':
        this.#failed(this.#end(input.call), input.error);
        break;
    }
    this.#flushLater();
    return this.#effects;
  }

  /** The callers that were just answered may get again in this turn, so a call begins at its end. */
  #flushLater(): void {
    const mayStart = this.#calls.size < this.limits.maxCalls && (this.#waiting.size > 0 || this.#again.length > 0);
    if (this.#flushes || !mayStart) return;
    this.#flushes = true;
    this.#effects.push({ type: 'flush-later' });
  }

  #start(): void {
    while (this.#calls.size < this.limits.maxCalls) {
      const reads = this.#nextReads();
      if (reads.size === 0) return;
      const call = (this.#lastCall += 1);
      this.#calls.set(call, reads);
      this.#effects.push({ type: 'read', call, keys: [...reads.keys()] });
    }
  }

  #nextReads(): Reads {
    const reads: Reads = new Map();
    while (reads.size === 0 && (this.#again.length > 0 || this.#waiting.size > 0)) {
      const source = this.#again[0] ?? this.#waiting;
      for (const [key, tickets] of source) {
        if (reads.size >= this.#maxKeys) break;
        source.delete(key);
        const open = tickets.filter((ticket) => this.#open.has(ticket));
        if (open.length > 0) reads.set(key, open);
      }
      if (source.size === 0 && source === this.#again[0]) this.#again.shift();
    }
    return reads;
  }

  #end(call: number): Reads {
    const reads = this.#calls.get(call);
    if (reads === undefined) throw new Error(`A result arrived, but call ${call} is not in flight`);
    this.#calls.delete(call);
    return reads;
  }

  #answered(reads: Reads, found: ReadonlyMap<string, Entry | undefined>): void {
    const leftOut: Reads = new Map();
    for (const [key, tickets] of reads) {
      if (found.has(key)) this.#settle(tickets, { entry: found.get(key) });
      else leftOut.set(key, tickets);
    }
    if (leftOut.size === 0) {
      this.#maxKeys = Math.min(this.limits.maxKeys, this.#maxKeys * 2);
    } else if (leftOut.size < reads.size) {
      this.#maxKeys = reads.size - leftOut.size;
      this.#again.push(leftOut);
    } else {
      this.#failed(reads, new HedgeError('BACKEND_UNAVAILABLE', `The driver read none of ${reads.size} keys.`));
    }
  }

  #failed(reads: Reads, error: unknown): void {
    const databaseFailed =
      error instanceof HedgeError && (error.code === 'BACKEND_UNAVAILABLE' || error.code === 'OVERLOADED');
    if (databaseFailed || reads.size === 1) {
      for (const tickets of reads.values()) this.#settle(tickets, { error });
      return;
    }
    const all = [...reads];
    const half = all.length >>> 1;
    this.#again.push(new Map(all.slice(0, half)), new Map(all.slice(half)));
  }

  #settle(tickets: readonly number[], outcome: GetOutcome<Entry>): void {
    for (const ticket of tickets) {
      if (this.#open.delete(ticket)) this.#effects.push({ type: 'settle', ticket, outcome });
    }
  }
}

function ticketsOf(reads: Reads, key: string): number[] {
  let tickets = reads.get(key);
  if (tickets === undefined) reads.set(key, (tickets = []));
  return tickets;
}
