import { Deadlines, type Timed } from '../../messaging/server/deadlines.js';
import type { MemberId } from '../../common/identity.js';
import { isSamePosition, type LogPosition } from '../../database/log-table.js';
import { compareText } from '../../database/text.js';

/** How long a version stays: for a time, or while a process is a member of the group. */
export type Lifetime = { readonly ttlMs: number } | { readonly owner: MemberId };

/** A version of a key that was put with a lifetime. */
export interface ExpiringVersion extends LogPosition {
  /** In the log table. */
  readonly key: string;
  readonly lifetime: Lifetime;
}

export interface ExpiryLimits {
  /** Keys of one page of a search. */
  readonly keys: number;
  /** Deletions and looks in flight. */
  readonly calls: number;
  /** A key whose expiry rows were not trimmed for so many puts is trimmed. */
  readonly rows: number;
  /** The pause after a failed call, in milliseconds. */
  readonly retryMs: number;
  /** The least pause between two trims, in milliseconds. */
  readonly pauseMs: number;
  /** A process that this leader has not heard is taken for gone after this time, in milliseconds. */
  readonly graceMs: number;
  /** An append without an answer may still be written for so long, in milliseconds. */
  readonly lateMs: number;
}

export const DEFAULT_EXPIRY_LIMITS: ExpiryLimits = {
  keys: 200,
  calls: 64,
  rows: 64,
  retryMs: 1_000,
  pauseMs: 20,
  graceMs: 5_000,
  lateMs: 10 * 60_000,
};

/** A `tick` that is so late shows that this process stood still, in milliseconds. */
const STALL_MS = 250;
/** A pause lasts this many times the trim before it, so that trims use a tenth of one connection at most. */
const PAUSES_PER_TRIM = 9;
const LONGEST_PAUSE_MS = 5_000;

export type ExpiryInput =
  | { readonly type: 'elected'; readonly token: bigint }
  /** This pod no longer leads. */
  | { readonly type: 'ended' }
  /** The time of a `wake` has come. */
  | { readonly type: 'tick' }
  /** The members of the group that this leader hears, by incarnation. `settled`: it has heard all that live. */
  | { readonly type: 'members'; readonly alive: ReadonlySet<string>; readonly settled: boolean }
  /** A put with a lifetime was committed in this term. */
  | { readonly type: 'put'; readonly version: ExpiringVersion }
  /** A put with a lifetime has an unknown outcome: it may be written, or may still be. */
  | { readonly type: 'unsettled'; readonly key: string; readonly lifetime: Lifetime }
  /** The results of the calls. `versions` has the newest expiry rows of the keys. */
  | {
      readonly type: 'listed';
      readonly call: number;
      readonly versions: readonly ExpiringVersion[];
      readonly next: string | undefined;
    }
  | {
      readonly type: 'searched';
      readonly call: number;
      readonly keys: readonly string[];
      readonly next: string | undefined;
    }
  | { readonly type: 'looked'; readonly call: number; readonly version: ExpiringVersion | undefined }
  | { readonly type: 'deleted'; readonly call: number; readonly outcome: DeletionOutcome }
  | { readonly type: 'trimmed'; readonly call: number }
  | { readonly type: 'failed'; readonly call: number };

/**
 * `replaced`: the version is not the newest one of its key, and its expiry row is the newest one. `renewed`: the key has a
 * later expiry row, or none.
 */
export type DeletionOutcome = 'done' | 'replaced' | 'renewed';

export type ExpiryEffect =
  /** Read the newest expiry rows of the keys behind `after`. Pass back `listed` or `failed`. */
  | { readonly type: 'list'; readonly call: number; readonly after: string | undefined; readonly limit: number }
  /** Search for keys whose expiry rows can be trimmed. Pass back `searched` or `failed`. */
  | { readonly type: 'search'; readonly call: number; readonly after: string | undefined; readonly limit: number }
  /** Read the newest expiry row of a key. Pass back `looked` or `failed`. */
  | { readonly type: 'look'; readonly call: number; readonly key: string }
  /**
   * Append tombstones to the key and to its expiry rows in one transaction, fenced by the token, if this version is the
   * newest of both. Pass back `deleted` or `failed`.
   */
  | { readonly type: 'delete'; readonly call: number; readonly token: bigint; readonly version: ExpiringVersion }
  /** The same for the expiry rows alone. */
  | { readonly type: 'close'; readonly call: number; readonly token: bigint; readonly version: ExpiringVersion }
  /** Delete the old expiry rows of a key, and all of them behind a tombstone. Pass back `trimmed` or `failed`. */
  | { readonly type: 'trim'; readonly call: number; readonly token: bigint; readonly key: string }
  /** Pass back `tick` after so many milliseconds. It replaces the `wake` before. */
  | { readonly type: 'wake'; readonly afterMs: number };

/** A key with a lifetime, and the next action on it at its deadline. */
class Tracked implements Timed {
  place = 0;
  deadline = 0;
  action: 'delete' | 'close' | 'look' = 'delete';
  version: ExpiringVersion | undefined;
  /** In flight. */
  call: number | undefined;
  /** Expiry rows that were written since the last trim. */
  rows = 0;
  /** Until then a row may appear that this leader does not know. */
  lateUntil = -Infinity;

  constructor(readonly key: string) {}
}

/** The searches of a term, page by page. */
interface Scan {
  readonly type: 'list' | 'search';
  readonly after: string | undefined;
  readonly at: number;
  readonly call: number | undefined;
}

/**
 * The expiry of keys on the leader. Pure: `step` accepts an input and the time, and returns effects. The runner performs
 * them, and passes the results back.
 *
 * - **A key is not deleted before its time to live has passed (K6).** The leader counts from the moment at which it knows of the
 *   commit, by its monotonic clock alone: from the answer to its append, or, for puts of earlier terms, from the read of the
 *   expiry row after its election. Each of these is later than the commit.
 * - **After a stall of this process**, as long as the stall, and `graceMs` at most, nothing is deleted: puts that renew keys may wait
 *   in its sockets.
 * - **Only that version is deleted.** The deletion is a compare-and-set of the version, fenced by the term. So a later put, with
 *   or without a time to live, is never deleted, whoever has made it, and a former leader deletes nothing.
 * - **The keys of a process stay while it is a member**, by its incarnation. They are deleted when this leader has heard it, and it
 *   has left or fallen silent; or, if the leader has not heard it in its term, after `graceMs`, and when the view is settled.
 * - **No key is forgotten.** Each put with a lifetime writes an expiry row in the same commit, fenced by the term. A new
 *   leader reads these rows once. A put with an unknown outcome is looked up later.
 * - While nothing expires, the leader makes no calls, but a trim for each 64 puts of a key.
 */
export class Expiry {
  #token: bigint | undefined;
  readonly #keys = new Map<string, Tracked>();
  #deadlines = new Deadlines<Tracked>();
  /** Those whose deadline has passed, until a call is free. */
  readonly #due = new Set<Tracked>();
  /** Of actions on keys. */
  readonly #calls = new Map<number, Tracked>();
  #scan: Scan | undefined;
  /** The keys of each process, by incarnation. */
  readonly #owned = new Map<string, Set<Tracked>>();
  #alive: ReadonlySet<string> = new Set();
  #settled = false;
  readonly #untrimmed = new Set<string>();
  #trim: { readonly call: number; readonly key: string; readonly startedAt: number } | undefined;
  #trimsPausedUntil = 0;
  #lastCall = 0;
  #wakeAt = Infinity;
  /** Nothing is deleted before. */
  #heldUntil = -Infinity;
  #effects: ExpiryEffect[] = [];

  constructor(private readonly limits: ExpiryLimits = DEFAULT_EXPIRY_LIMITS) {}

  /** The number of keys with a lifetime. */
  get size(): number {
    return this.#keys.size;
  }

  /** @param now milliseconds of the monotonic clock. */
  step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    this.#effects = [];
    this.#noticeStall(now);
    switch (input.type) {
      case 'elected':
        this.#end();
        this.#token = input.token;
        this.#scan = { type: 'list', after: undefined, at: now, call: undefined };
        break;
      case 'ended':
        this.#end();
        break;
      case 'tick':
        this.#wakeAt = Infinity;
        break;
      case 'members':
        this.#members(input.alive, input.settled, now);
        break;
      case 'put':
        if (this.#token !== undefined) this.#put(input.version, now);
        break;
      case 'unsettled':
        if (this.#token !== undefined) this.#unsettled(input.key, input.lifetime, now);
        break;
      case 'listed':
      case 'searched':
        if (this.#scan?.call === input.call) this.#scanned(input, now);
        break;
      case 'trimmed':
        if (this.#trim?.call === input.call) this.#endTrim(now);
        break;
      case 'looked':
      case 'deleted':
      case 'failed':
        this.#answered(input, now);
    }
    this.#start(now);
    return this.#effects;
  }

  /** A hold that ends late is no reason for another one: otherwise nothing would expire on a slow machine. */
  #noticeStall(now: number): void {
    const lateMs = now - this.#wakeAt;
    if (lateMs < STALL_MS || this.#wakeAt === this.#heldUntil) return;
    this.#heldUntil = now + Math.min(lateMs, this.limits.graceMs);
  }

  #end(): void {
    this.#token = this.#scan = this.#trim = undefined;
    this.#keys.clear();
    this.#due.clear();
    this.#calls.clear();
    this.#untrimmed.clear();
    this.#owned.clear();
    this.#alive = new Set();
    this.#settled = false;
    this.#deadlines = new Deadlines();
    this.#wakeAt = Infinity;
  }

  #put(version: ExpiringVersion, now: number): void {
    const tracked = this.#track(version.key);
    tracked.rows += 1;
    if (tracked.rows >= this.limits.rows) {
      tracked.rows = 0;
      this.#untrimmed.add(version.key);
    }
    // The answers to two puts may arrive in another order.
    if (tracked.version === undefined || isLater(version, tracked.version)) this.#expire(tracked, version, now);
  }

  #members(alive: ReadonlySet<string>, settled: boolean, now: number): void {
    const before = this.#alive;
    this.#alive = alive;
    this.#settled = settled;
    for (const [owner, keys] of this.#owned) {
      if (alive.has(owner) === before.has(owner)) continue;
      for (const tracked of keys) {
        if (!alive.has(owner)) this.#schedule(tracked, 'delete', now);
        else if (tracked.action === 'delete') this.#unschedule(tracked);
      }
    }
  }

  #unsettled(key: string, lifetime: Lifetime, now: number): void {
    const known = this.#keys.has(key);
    const tracked = this.#track(key);
    tracked.lateUntil = now + this.limits.lateMs;
    // Otherwise the deletion of the known version finds it.
    const soonMs = 'ttlMs' in lifetime ? lifetime.ttlMs : this.limits.graceMs;
    if (!known) this.#schedule(tracked, 'look', Math.min(now + soonMs, tracked.lateUntil));
  }

  #track(key: string): Tracked {
    let tracked = this.#keys.get(key);
    if (tracked === undefined) this.#keys.set(key, (tracked = new Tracked(key)));
    return tracked;
  }

  #expire(tracked: Tracked, version: ExpiringVersion, now: number): void {
    const { lifetime } = version;
    this.#disown(tracked);
    tracked.version = version;
    if ('ttlMs' in lifetime) return this.#schedule(tracked, 'delete', now + lifetime.ttlMs);
    const { incarnation } = lifetime.owner;
    const owned = this.#owned.get(incarnation) ?? new Set();
    this.#owned.set(incarnation, owned.add(tracked));
    this.#schedule(tracked, 'delete', now + this.limits.graceMs);
    if (this.#alive.has(incarnation)) this.#unschedule(tracked);
  }

  #disown(tracked: Tracked): void {
    const owner = ownerOf(tracked);
    if (owner === undefined) return;
    const owned = this.#owned.get(owner);
    owned?.delete(tracked);
    if (owned?.size === 0) this.#owned.delete(owner);
  }

  /** The answer to an action in flight does not count any more. */
  #unschedule(tracked: Tracked): void {
    if (tracked.call !== undefined) this.#calls.delete(tracked.call);
    tracked.call = undefined;
    this.#deadlines.delete(tracked);
    this.#due.delete(tracked);
  }

  #schedule(tracked: Tracked, action: Tracked['action'], at: number): void {
    this.#unschedule(tracked);
    tracked.action = action;
    tracked.deadline = at;
    this.#deadlines.add(tracked);
  }

  #answered(input: Extract<ExpiryInput, { readonly type: 'looked' | 'deleted' | 'failed' }>, now: number): void {
    const tracked = this.#calls.get(input.call);
    if (tracked === undefined) return this.#failed(input.call, now);
    this.#calls.delete(input.call);
    tracked.call = undefined;
    if (input.type === 'failed') return this.#schedule(tracked, tracked.action, now + this.limits.retryMs);
    if (input.type === 'looked') {
      if (input.version === undefined) return this.#forget(tracked, now);
      return this.#expire(tracked, input.version, now);
    }
    switch (input.outcome) {
      case 'done':
        this.#untrimmed.add(tracked.key);
        return this.#forget(tracked, now);
      case 'replaced':
        return this.#schedule(tracked, 'close', now);
      case 'renewed':
        return this.#schedule(tracked, 'look', now);
    }
  }

  /** The key has no time to live, as far as this leader knows. */
  #forget(tracked: Tracked, now: number): void {
    this.#disown(tracked);
    tracked.version = undefined;
    if (now < tracked.lateUntil) this.#schedule(tracked, 'look', tracked.lateUntil);
    else this.#keys.delete(tracked.key);
  }

  #scanned(input: Extract<ExpiryInput, { readonly type: 'listed' | 'searched' }>, now: number): void {
    if (input.type === 'listed') {
      for (const version of input.versions) {
        const tracked = this.#track(version.key);
        // A put of this term is later, unless it is a late answer to a put of an earlier term.
        if (tracked.version === undefined || isLater(version, tracked.version)) this.#expire(tracked, version, now);
      }
    } else {
      for (const key of input.keys) this.#untrimmed.add(key);
    }
    const { next } = input;
    const type = next === undefined ? (input.type === 'listed' ? 'search' : undefined) : this.#scan?.type;
    this.#scan = type && { type, after: next, at: now, call: undefined };
  }

  /** A call of a scan or a trim has failed. */
  #failed(call: number, now: number): void {
    if (this.#scan?.call === call) {
      this.#scan = { ...this.#scan, at: now + this.limits.retryMs, call: undefined };
    } else if (this.#trim?.call === call) {
      this.#untrimmed.add(this.#trim.key);
      this.#endTrim(now);
      this.#trimsPausedUntil = Math.max(this.#trimsPausedUntil, now + this.limits.retryMs);
    }
  }

  #endTrim(now: number): void {
    const tookMs = now - (this.#trim?.startedAt ?? now);
    this.#trim = undefined;
    this.#trimsPausedUntil = now + Math.min(LONGEST_PAUSE_MS, Math.max(this.limits.pauseMs, PAUSES_PER_TRIM * tookMs));
  }

  /** Starts the calls whose time has come. */
  #start(now: number): void {
    const token = this.#token;
    if (token === undefined) return;
    this.#startScan(now);
    for (const tracked of this.#deadlines.takeExpired(now)) this.#due.add(tracked);
    const isHeld = now < this.#heldUntil;
    for (const tracked of this.#due) {
      if (isHeld || this.#calls.size >= this.limits.calls) break;
      this.#due.delete(tracked);
      // After a stall, this process has not read the heartbeats of the others yet.
      if (tracked.action === 'delete' && ownerOf(tracked) !== undefined && !this.#settled) {
        this.#schedule(tracked, 'delete', now + this.limits.graceMs / 4);
      } else {
        this.#startAction(tracked, token);
      }
    }
    this.#startTrim(now, token);
    const scanAt = this.#scan?.call === undefined ? (this.#scan?.at ?? Infinity) : Infinity;
    const trimAt = this.#trim === undefined && this.#untrimmed.size > 0 ? this.#trimsPausedUntil : Infinity;
    const heldAt = isHeld && this.#due.size > 0 ? this.#heldUntil : Infinity;
    const at = Math.min(this.#deadlines.next, scanAt, trimAt, heldAt);
    if (at >= this.#wakeAt) return;
    this.#wakeAt = at;
    this.#effects.push({ type: 'wake', afterMs: Math.max(0, at - now) });
  }

  #startScan(now: number): void {
    if (this.#scan === undefined || this.#scan.call !== undefined || now < this.#scan.at) return;
    const call = (this.#lastCall += 1);
    const { type, after } = (this.#scan = { ...this.#scan, call });
    this.#effects.push({ type, call, after, limit: this.limits.keys });
  }

  #startAction(tracked: Tracked, token: bigint): void {
    const call = (this.#lastCall += 1);
    this.#calls.set(call, tracked);
    tracked.call = call;
    const { key, version, action } = tracked;
    if (version === undefined || action === 'look') this.#effects.push({ type: 'look', call, key });
    else this.#effects.push({ type: action, call, token, version });
  }

  #startTrim(now: number, token: bigint): void {
    const [key] = this.#untrimmed;
    if (key === undefined || this.#trim !== undefined || now < this.#trimsPausedUntil) return;
    this.#untrimmed.delete(key);
    const call = (this.#lastCall += 1);
    this.#trim = { call, key, startedAt: now };
    this.#effects.push({ type: 'trim', call, token, key });
  }
}

/** The incarnation of the process while whose membership a key stays. */
function ownerOf({ version }: Tracked): string | undefined {
  return version !== undefined && 'owner' in version.lifetime ? version.lifetime.owner.incarnation : undefined;
}

function isLater(a: LogPosition, b: LogPosition): boolean {
  if (isSamePosition(a, b)) return false;
  return a.timestamp === b.timestamp ? compareText(a.id, b.id) > 0 : a.timestamp > b.timestamp;
}
