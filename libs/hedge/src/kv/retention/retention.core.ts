import type { LogTrim, TrimmablePage } from '../../database/log-table.js';
import { isReservedKey, scanAfter } from '../../database/row-names.js';

/** The versions that retention deletes: see `KvRetention`. The prefix is the one in the log table. */
export interface RetentionRule {
  readonly prefix: string;
  readonly versions?: number | undefined;
  readonly days?: number | undefined;
  readonly tombstonesDays?: number | undefined;
}

export interface RetentionLimits {
  /** Time between two sweeps, in milliseconds. */
  readonly everyMs: number;
  /** A version stays at least this long, in milliseconds. No append is tried again for so long (K1). */
  readonly leastAgeMs: number;
  /** Keys of one search. */
  readonly keys: number;
  /** Versions that one call deletes: few, because on SQLite a renewal of the lease may wait for it. */
  readonly rows: number;
  /** The least pause between two calls, in milliseconds. */
  readonly pauseMs: number;
}

export const DEFAULT_RETENTION_LIMITS: RetentionLimits = {
  everyMs: 60_000,
  leastAgeMs: 10 * 60_000,
  keys: 100,
  rows: 500,
  pauseMs: 20,
};

/**
 * The longest time in which a put is tried, in milliseconds. It leaves as much for clocks of other rates, and for calls that the
 * database performs late, before `leastAgeMs` is over.
 */
export const LONGEST_PUT_MS = DEFAULT_RETENTION_LIMITS.leastAgeMs / 2;

/** A pause lasts this many times the call before it, so that retention uses a tenth of one connection at most. */
const PAUSES_PER_CALL = 9;
const LONGEST_PAUSE_MS = 5_000;

/** What one rule deletes in one sweep. */
export type RetentionBounds = Pick<LogTrim, 'keep' | 'before' | 'tombstonesBefore'>;

export type RetentionInput =
  | { readonly type: 'elected'; readonly token: bigint }
  /** This pod no longer leads. */
  | { readonly type: 'ended' }
  /** The time of a `wake` has come. */
  | { readonly type: 'tick' }
  /** A caller waits for the end of a whole sweep. */
  | { readonly type: 'compact'; readonly ticket: number }
  /** The results of the calls. */
  | { readonly type: 'marked'; readonly call: number; readonly timestamp: bigint }
  | { readonly type: 'found'; readonly call: number; readonly page: TrimmablePage }
  | { readonly type: 'trimmed'; readonly call: number; readonly deleted: number }
  | { readonly type: 'failed'; readonly call: number; readonly error: unknown };

export type RetentionEffect =
  /** Overwrite the own row of the group, fenced by the token. Pass back its timestamp by `marked`, or `failed`. */
  | { readonly type: 'mark'; readonly call: number; readonly token: bigint }
  /** Call `LogTable.trimmable`, and pass back `found` or `failed`. */
  | {
      readonly type: 'search';
      readonly call: number;
      readonly prefix: string;
      readonly after: string | undefined;
      readonly limit: number;
      readonly bounds: RetentionBounds;
    }
  /** Find the next key by `LogTable.keys`. Pass back `found` with no keys and this key as `next`, or `failed`. */
  | { readonly type: 'skip'; readonly call: number; readonly prefix: string; readonly after: string | undefined }
  /** Call `LogTable.trim`, fenced by the token, with the prefix for its record. Pass back `trimmed` or `failed`. */
  | {
      readonly type: 'trim';
      readonly call: number;
      readonly token: bigint;
      readonly prefix: string;
      readonly key: string;
      readonly limit: number;
      readonly bounds: RetentionBounds;
    }
  /** Pass back `tick` after so many milliseconds. It replaces the `wake` before. */
  | { readonly type: 'wake'; readonly afterMs: number }
  /** A sweep has ended, or has failed. */
  | { readonly type: 'swept'; readonly deleted: number; readonly ms: number; readonly error?: unknown }
  /** Settle one `compact`; exactly once for each ticket. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: CompactOutcome };

export type CompactOutcome =
  | { readonly deleted: number }
  | { readonly error: unknown }
  /** This pod no longer leads. */
  | 'ended';

/** A row that this leader has written: each row with a lower timestamp is older than `at`. */
interface Mark {
  readonly timestamp: bigint;
  /** When its write was acknowledged, by the monotonic clock. */
  readonly at: number;
}

/** The place of a search. */
interface SearchPlace {
  readonly prefix: string;
  readonly after: string | undefined;
  /** It has failed for one key alone. */
  readonly skips: boolean;
}

interface Sweep {
  readonly startedAt: number;
  readonly tickets: readonly number[];
  deleted: number;
  /** Old versions may be deleted: then the sweep looks at all keys. */
  whole: boolean;
  /** The rules that are left, with the present one first. */
  rules: readonly { readonly prefix: string; readonly bounds: RetentionBounds }[];
  /** The last key of the last search of the present rule; undefined before the first one. */
  after: string | undefined;
  /** The search behind `after` has failed for one key alone. */
  skips: boolean;
  /** Whether all keys of the present rule were looked at. */
  searched: boolean;
  /** The found keys that are not done. */
  keys: readonly string[];
}

/**
 * Retention on the leader: deletes old versions, in one small call at a time. Pure: `step` accepts an input and the time, and
 * returns effects. The runner performs them, and passes the results back.
 *
 * - **No version is deleted before it is `leastAgeMs` old.** Otherwise a late attempt of its append would not find it, and
 *   would write it again (K1, K4). No clock of another machine decides that: the leader overwrites a row of its own from time to
 *   time, and deletes only versions with a lower timestamp than such a row that it wrote that long ago, by its monotonic
 *   clock. So a term begins to delete when it is that old.
 * - The days of a rule count by the timestamps of the database.
 * - Each deletion is fenced, and never takes the newest version, except a tombstone.
 * - A failure ends the sweep. The next one begins where it failed. If a search failed, it searches half as many keys at a time,
 *   and one more after each search that succeeds (additive increase, multiplicative decrease, as in TCP). It leaves out a key
 *   whose deletion failed, or whose search failed alone. So neither a large key nor many failures keep it from the last key.
 *   A sweep for `compact` begins with the first key and leaves out none: its caller gets the error.
 * - A key belongs to the rule with the longest prefix of it. Keys of this library belong to none.
 */
export class Retention {
  readonly #rules: readonly RetentionRule[];
  #token: bigint | undefined;
  /** Rising. */
  #marks: Mark[] = [];
  #lastMark = 0n;
  #sweep: Sweep | undefined;
  #waiting: number[] = [];
  #calls = 0;
  /** The call in flight, and when it began. */
  #call: { readonly number: number; readonly startedAt: number; readonly effect: RetentionEffect } | undefined;
  /** Keys of the next search. */
  #keys: number;
  /** Keys whose deletion has failed since the last whole sweep. */
  readonly #leftOut = new Set<string>();
  /** The last search, until a sweep has reached the end. */
  #lastSearch: SearchPlace | undefined;
  #nextSweepAt = 0;
  #pausedUntil = 0;
  #effects: RetentionEffect[] = [];

  constructor(
    rules: readonly RetentionRule[],
    private readonly limits: RetentionLimits = DEFAULT_RETENTION_LIMITS,
  ) {
    this.#rules = rules;
    this.#keys = limits.keys;
  }

  /** @param now milliseconds of the monotonic clock. */
  step(input: RetentionInput, now: number): readonly RetentionEffect[] {
    this.#effects = [];
    const call = this.#call;
    if ('call' in input) {
      // Else a call of an earlier term.
      if (input.call !== call?.number) return [];
      this.#pause(now);
    }
    switch (input.type) {
      case 'elected':
        this.#end();
        this.#token = input.token;
        this.#nextSweepAt = this.#pausedUntil = now;
        break;
      case 'ended':
        this.#end();
        break;
      case 'compact':
        if (this.#token === undefined) this.#settle([input.ticket], 'ended');
        else this.#waiting.push(input.ticket);
        this.#nextSweepAt = now;
        break;
      case 'marked':
        this.#marked({ timestamp: input.timestamp, at: now });
        this.#startRules(input.timestamp, now);
        break;
      case 'found':
        if (call?.effect.type === 'search') this.#keys = Math.min(this.limits.keys, this.#keys + 1);
        this.#found(input.page);
        break;
      case 'trimmed':
        this.#trimmed(input.deleted);
        break;
      case 'failed':
        if (call?.effect.type === 'search') this.#searchFailed(call.effect);
        if (call?.effect.type === 'trim') this.#leftOut.add(call.effect.key);
        this.#endSweep(now, input.error);
        break;
      case 'tick':
        break;
    }
    this.#next(now);
    return this.#effects;
  }

  #pause(now: number): void {
    const tookMs = now - (this.#call?.startedAt ?? now);
    this.#pausedUntil = now + Math.min(LONGEST_PAUSE_MS, Math.max(this.limits.pauseMs, PAUSES_PER_CALL * tookMs));
    this.#call = undefined;
  }

  #end(): void {
    this.#settle([...(this.#sweep?.tickets ?? []), ...this.#waiting], 'ended');
    this.#token = this.#sweep = this.#call = this.#lastSearch = undefined;
    this.#waiting = [];
    this.#marks = [];
    this.#lastMark = 0n;
  }

  #marked(mark: Mark): void {
    const { everyMs, leastAgeMs } = this.limits;
    // The database has lost its last commits, so younger rows may have timestamps below those of earlier marks.
    if (mark.timestamp <= this.#lastMark) this.#marks = [];
    this.#lastMark = mark.timestamp;
    const last = this.#marks.at(-1);
    if (last === undefined || mark.at - last.at >= everyMs / 2) this.#marks.push(mark);
    // Of the marks that are old enough, only the last one counts.
    const old = this.#marks.filter(({ at }) => mark.at - at >= leastAgeMs).length;
    this.#marks.splice(0, Math.max(0, old - 1));
  }

  /** @param time of the database. */
  #startRules(time: bigint, now: number): void {
    const [mark] = this.#marks;
    if (this.#sweep === undefined || mark === undefined || now - mark.at < this.limits.leastAgeMs) return;
    this.#sweep.whole = true;
    const rules = this.#rules.map((rule) => ({
      prefix: rule.prefix,
      bounds: boundsOf(rule, mark.timestamp, time),
    }));
    const begin = this.#sweep.tickets.length === 0 ? this.#lastSearch : undefined;
    this.#sweep.rules =
      begin === undefined ? rules : rules.slice(rules.findIndex(({ prefix }) => prefix === begin.prefix));
    this.#sweep.after = begin?.after;
    this.#sweep.skips = begin?.skips ?? false;
  }

  #found({ keys, next }: TrimmablePage): void {
    const sweep = this.#sweep;
    const [rule] = sweep?.rules ?? [];
    if (sweep === undefined || rule === undefined) return;
    const isLeftOut = (key: string): boolean => sweep.tickets.length === 0 && this.#leftOut.has(key);
    sweep.keys = keys.filter((key) => !isReservedKey(key) && !isLeftOut(key) && this.#ruleOf(key) === rule.prefix);
    sweep.after = next && scanAfter(next);
    sweep.searched = next === undefined;
    sweep.skips = false;
  }

  #searchFailed({ prefix, after, limit }: Extract<RetentionEffect, { readonly type: 'search' }>): void {
    this.#keys = Math.max(1, Math.floor(limit / 2));
    this.#lastSearch = { prefix, after, skips: limit === 1 };
  }

  #ruleOf(key: string): string | undefined {
    let longest: string | undefined;
    for (const { prefix } of this.#rules) {
      if (key.startsWith(prefix) && prefix.length >= (longest ?? '').length) longest = prefix;
    }
    return longest;
  }

  #trimmed(deleted: number): void {
    const sweep = this.#sweep;
    if (sweep === undefined) return;
    sweep.deleted += deleted;
    if (deleted < this.limits.rows) sweep.keys = sweep.keys.slice(1);
  }

  #endSweep(now: number, error?: unknown): void {
    const sweep = this.#sweep;
    if (sweep === undefined) return;
    this.#sweep = undefined;
    this.#nextSweepAt = this.#waiting.length > 0 ? now : now + this.limits.everyMs;
    const { deleted, startedAt, tickets } = sweep;
    this.#effects.push({ type: 'swept', deleted, ms: now - startedAt, ...(error !== undefined && { error }) });
    this.#settle(tickets, error === undefined ? { deleted } : { error });
  }

  #settle(tickets: readonly number[], outcome: CompactOutcome): void {
    for (const ticket of tickets) this.#effects.push({ type: 'settle', ticket, outcome });
  }

  /** Begins the next call when its time has come. */
  #next(now: number): void {
    const token = this.#token;
    if (token === undefined || this.#call !== undefined) return;
    const at = Math.max(this.#pausedUntil, this.#sweep === undefined ? this.#nextSweepAt : now);
    if (at > now) return void this.#effects.push({ type: 'wake', afterMs: at - now });
    const call = (this.#calls += 1);
    if (this.#sweep === undefined) {
      const tickets = this.#waiting;
      this.#waiting = [];
      this.#sweep = {
        startedAt: now,
        tickets,
        deleted: 0,
        whole: false,
        rules: [],
        after: undefined,
        skips: false,
        searched: false,
        keys: [],
      };
      return this.#begin({ type: 'mark', call, token }, now);
    }
    const effect = this.#work(this.#sweep, call, token);
    if (effect !== undefined) return this.#begin(effect, now);
    if (this.#sweep.whole) {
      this.#leftOut.clear();
      this.#lastSearch = undefined;
    }
    this.#endSweep(now);
    this.#next(now);
  }

  #begin(effect: RetentionEffect & { readonly call: number }, now: number): void {
    this.#call = { number: effect.call, startedAt: now, effect };
    this.#effects.push(effect);
  }

  #work(sweep: Sweep, call: number, token: bigint): (RetentionEffect & { readonly call: number }) | undefined {
    const [key] = sweep.keys;
    if (key === undefined && sweep.searched) {
      sweep.rules = sweep.rules.slice(1);
      sweep.after = undefined;
      sweep.searched = false;
    }
    const [rule] = sweep.rules;
    if (rule === undefined) return undefined;
    const { prefix, bounds } = rule;
    if (key !== undefined) return { type: 'trim', call, token, prefix, key, limit: this.limits.rows, bounds };
    const { after } = sweep;
    if (sweep.skips) return { type: 'skip', call, prefix, after };
    this.#lastSearch = { prefix, after, skips: false };
    return { type: 'search', call, prefix, after, limit: this.#keys, bounds };
  }
}

/**
 * @param safe versions below it are old enough to be deleted.
 * @param now the present time of the database, in nanoseconds.
 */
function boundsOf({ versions, days, tombstonesDays }: RetentionRule, safe: bigint, now: bigint): RetentionBounds {
  const before = (days: number): bigint => least(safe, now - BigInt(Math.round(days * 86_400_000)) * 1_000_000n);
  return {
    keep: versions ?? 1,
    // A rule for tombstones alone keeps all versions.
    before: days === undefined ? (versions === undefined ? 0n : safe) : before(days),
    ...(tombstonesDays !== undefined && { tombstonesBefore: before(tombstonesDays) }),
  };
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
