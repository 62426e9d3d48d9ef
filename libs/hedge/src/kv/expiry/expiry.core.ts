import type { MemberId } from '../../common/identity.js';
import { comparePlaces, isSamePosition, type LogPosition } from '../../database/log-table.js';
import { DeadlineQueue, type Queued } from './deadline-queue.js';

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
  /** After this many puts of a key, its expiry rows are trimmed. */
  readonly rows: number;
  /** The pause after a failed call, in milliseconds. */
  readonly retryMs: number;
  /** The least pause between two trims, in milliseconds, while fewer than `keys` keys wait. */
  readonly pauseMs: number;
  /** Trims in flight when more keys wait. */
  readonly trims: number;
  /** Keys that wait for a trim. The leader finds further ones by a search, when these are done. */
  readonly untrimmed: number;
  /** A process that this leader has not heard is taken for gone after this time, in milliseconds. */
  readonly graceMs: number;
  /** How long an append without an answer may still be written, in milliseconds. */
  readonly lateMs: number;
}

export const DEFAULT_EXPIRY_LIMITS: ExpiryLimits = {
  keys: 200,
  calls: 64,
  rows: 64,
  retryMs: 1_000,
  pauseMs: 20,
  trims: 4,
  untrimmed: 10_000,
  graceMs: 5_000,
  lateMs: 10 * 60_000,
};

/** A wake is a multiple of this, so that the deletions of some keys share a commit: a key goes so much late at most, in milliseconds. */
const WAKE_MS = 10;
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
  | { readonly type: 'unsettled'; readonly key: string }
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
  /** `more`: it has deleted as many rows as one call may. */
  | { readonly type: 'trimmed'; readonly call: number; readonly more: boolean }
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
  /** Pass back `tick` after this many milliseconds. It replaces the earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number };

/** A key with a lifetime. */
class Tracked implements Queued {
  place = 0;
  /** Of the next action: the earlier one of `endsAt` and `lookAt`. */
  deadline = Infinity;
  /** The newest one, as far as this leader knows. */
  version: ExpiringVersion | undefined;
  /** When the version is to be deleted; Infinity while its process is a member. */
  endsAt = Infinity;
  /** Another put came later: only the expiry rows are to be closed. */
  replaced = false;
  /** When to read the newest expiry row, because it may be one that this leader does not know. */
  lookAt = Infinity;
  /** Until then a put without an answer may be written. */
  lateUntil = -Infinity;
  /** In flight. */
  call: number | undefined;
  /** The call in flight is a look. */
  looks = false;
  /** Expiry rows that were written since the last trim. */
  rows = 0;

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
 *   leader reads these rows once. When a put has an unknown outcome, or answers arrive in another order than their commits, the
 *   leader reads the row of that key again.
 * - While nothing expires, the leader makes no calls, but a trim for each 64 puts of a key.
 */
export class Expiry {
  #token: bigint | undefined;
  readonly #keys = new Map<string, Tracked>();
  #deadlines = new DeadlineQueue<Tracked>();
  /** Of actions on keys. */
  readonly #calls = new Map<number, Tracked>();
  #scan: Scan | undefined;
  /** The keys of each process, by incarnation. */
  readonly #owned = new Map<string, Set<Tracked>>();
  #alive: ReadonlySet<string> = new Set();
  #settled = false;
  /** The last one is trimmed first. */
  #untrimmed: string[] = [];
  /** There may be further ones. */
  #searchesAgain = false;
  /** In flight. */
  readonly #trims = new Map<number, { readonly key: string; readonly startedAt: number }>();
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
        if (this.#token !== undefined) this.#unsettled(input.key, now);
        break;
      case 'listed':
      case 'searched':
        if (this.#scan?.call === input.call) this.#scanned(input, now);
        break;
      case 'trimmed':
        this.#endTrim(input.call, input.more, now);
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
    this.#heldUntil = wakeFor(now + Math.min(lateMs, this.limits.graceMs));
  }

  #end(): void {
    this.#token = this.#scan = undefined;
    this.#keys.clear();
    this.#calls.clear();
    this.#trims.clear();
    this.#untrimmed = [];
    this.#searchesAgain = false;
    this.#owned.clear();
    this.#alive = new Set();
    this.#settled = false;
    this.#deadlines = new DeadlineQueue();
    this.#wakeAt = Infinity;
  }

  #put(version: ExpiringVersion, now: number): void {
    const tracked = this.#track(version.key);
    tracked.rows += 1;
    if (tracked.rows >= this.limits.rows) {
      tracked.rows = 0;
      this.#trimLater(version.key);
    }
    if (isNewer(version, tracked)) this.#expire(tracked, version, now);
    // Its caller tried it again, or the database has lost the later one.
    else if (!isSamePosition(version, tracked.version)) this.#lookAt(tracked, now);
  }

  #members(alive: ReadonlySet<string>, settled: boolean, now: number): void {
    const before = this.#alive;
    this.#alive = alive;
    this.#settled = settled;
    for (const [owner, keys] of this.#owned) {
      if (alive.has(owner) === before.has(owner)) continue;
      for (const tracked of keys) {
        if (tracked.replaced) continue;
        tracked.endsAt = alive.has(owner) ? Infinity : now;
        this.#schedule(tracked);
      }
    }
  }

  #unsettled(key: string, now: number): void {
    const tracked = this.#track(key);
    tracked.lateUntil = now + this.limits.lateMs;
    this.#lookAt(tracked, now + this.limits.retryMs);
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
    tracked.replaced = false;
    if ('ttlMs' in lifetime) {
      tracked.endsAt = now + lifetime.ttlMs;
    } else {
      const { incarnation } = lifetime.owner;
      const owned = this.#owned.get(incarnation) ?? new Set();
      this.#owned.set(incarnation, owned.add(tracked));
      tracked.endsAt = this.#alive.has(incarnation) ? Infinity : now + this.limits.graceMs;
    }
    this.#schedule(tracked);
  }

  #disown(tracked: Tracked): void {
    const owner = ownerOf(tracked);
    if (owner === undefined) return;
    const owned = this.#owned.get(owner);
    owned?.delete(tracked);
    if (owned?.size === 0) this.#owned.delete(owner);
  }

  #lookAt(tracked: Tracked, at: number): void {
    tracked.lookAt = Math.min(tracked.lookAt, at);
    if (tracked.call === undefined) this.#schedule(tracked);
  }

  /** The answer to a call in flight does not count any more. */
  #schedule(tracked: Tracked): void {
    if (tracked.call !== undefined) this.#calls.delete(tracked.call);
    tracked.call = undefined;
    this.#deadlines.delete(tracked);
    tracked.deadline = Math.min(tracked.endsAt, tracked.lookAt);
    if (tracked.deadline < Infinity) this.#deadlines.add(tracked);
  }

  #answered(input: Extract<ExpiryInput, { readonly type: 'looked' | 'deleted' | 'failed' }>, now: number): void {
    const tracked = this.#calls.get(input.call);
    if (tracked === undefined) return this.#failed(input.call, now);
    this.#calls.delete(input.call);
    tracked.call = undefined;
    switch (input.type) {
      case 'looked':
        return this.#looked(tracked, input.version, now);
      case 'deleted':
        return this.#deleted(tracked, input.outcome, now);
      case 'failed':
        if (tracked.looks) tracked.lookAt = this.#nextLook(tracked, now);
        else tracked.endsAt = now + this.limits.retryMs;
        return this.#schedule(tracked);
    }
  }

  #looked(tracked: Tracked, version: ExpiringVersion | undefined, now: number): void {
    tracked.lookAt = tracked.lookAt >= tracked.lateUntil ? Infinity : this.#nextLook(tracked, now);
    if (version === undefined) this.#forget(tracked);
    else if (isSamePosition(version, tracked.version)) this.#schedule(tracked);
    else this.#expire(tracked, version, now);
  }

  /** Each look for a late put comes after twice the time of the one before, and the last one when none can be written any more. */
  #nextLook({ lateUntil }: Tracked, now: number): number {
    const { retryMs, lateMs } = this.limits;
    const waitMs = Math.max(retryMs, now - (lateUntil - lateMs));
    return now + Math.min(waitMs, Math.max(retryMs, lateUntil - now));
  }

  #deleted(tracked: Tracked, outcome: DeletionOutcome, now: number): void {
    if (outcome === 'done') {
      this.#trimLater(tracked.key);
      return this.#forget(tracked);
    }
    tracked.replaced = outcome === 'replaced';
    if (outcome === 'renewed') {
      tracked.lookAt = now;
      tracked.endsAt = now + this.limits.retryMs;
    }
    this.#schedule(tracked);
  }

  /** The key has no lifetime, as far as this leader knows. */
  #forget(tracked: Tracked): void {
    this.#disown(tracked);
    tracked.version = undefined;
    tracked.endsAt = Infinity;
    this.#schedule(tracked);
    if (tracked.lookAt === Infinity) this.#keys.delete(tracked.key);
  }

  #scanned(input: Extract<ExpiryInput, { readonly type: 'listed' | 'searched' }>, now: number): void {
    if (input.type === 'listed') {
      for (const version of input.versions) {
        const tracked = this.#track(version.key);
        // A put of this term is later, unless it is a late answer to a put of an earlier term.
        if (isNewer(version, tracked)) this.#expire(tracked, version, now);
      }
    } else {
      for (const key of input.keys) this.#trimLater(key);
    }
    const { next } = input;
    const type = next === undefined ? (input.type === 'listed' ? 'search' : undefined) : this.#scan?.type;
    this.#scan = type && { type, after: next, at: now, call: undefined };
  }

  /** A call of a scan or a trim has failed. */
  #failed(call: number, now: number): void {
    if (this.#scan?.call === call) {
      this.#scan = { ...this.#scan, at: now + this.limits.retryMs, call: undefined };
      return;
    }
    const trim = this.#trims.get(call);
    if (trim === undefined) return;
    this.#trims.delete(call);
    this.#untrimmed.unshift(trim.key);
    this.#pauseTrims(now + this.limits.retryMs);
  }

  #trimLater(key: string): void {
    if (this.#untrimmed.length < this.limits.untrimmed) this.#untrimmed.push(key);
    else this.#searchesAgain = true;
  }

  #endTrim(call: number, more: boolean, now: number): void {
    const trim = this.#trims.get(call);
    if (trim === undefined) return;
    this.#trims.delete(call);
    if (more) this.#untrimmed.push(trim.key);
    if (this.#untrimmed.length >= this.limits.keys) return;
    const pauseMs = Math.max(this.limits.pauseMs, PAUSES_PER_TRIM * (now - trim.startedAt));
    this.#pauseTrims(now + Math.min(LONGEST_PAUSE_MS, pauseMs));
  }

  #pauseTrims(until: number): void {
    this.#trimsPausedUntil = Math.max(this.#trimsPausedUntil, until);
  }

  /** Starts the calls whose time has come. */
  #start(now: number): void {
    const token = this.#token;
    if (token === undefined) return;
    const at = Math.min(this.#startScan(now), this.#startActions(now, token), this.#startTrims(now, token));
    if (at === Infinity || wakeFor(at) >= this.#wakeAt) return;
    this.#wakeAt = wakeFor(at);
    this.#effects.push({ type: 'wake', afterMs: Math.max(0, this.#wakeAt - now) });
  }

  /** @returns when the next call begins, as do the two below. */
  #startScan(now: number): number {
    const mayFindMore = this.#untrimmed.length < this.limits.keys;
    if (this.#scan === undefined && this.#searchesAgain && mayFindMore) {
      this.#searchesAgain = false;
      this.#scan = { type: 'search', after: undefined, at: now, call: undefined };
    }
    const scan = this.#scan;
    if (scan === undefined || scan.call !== undefined || (scan.type === 'search' && !mayFindMore)) return Infinity;
    if (now < scan.at) return scan.at;
    const call = (this.#lastCall += 1);
    this.#scan = { ...scan, call };
    this.#effects.push({ type: scan.type, call, after: scan.after, limit: this.limits.keys });
    return Infinity;
  }

  #startActions(now: number, token: bigint): number {
    while (this.#calls.size < this.limits.calls) {
      const tracked = this.#deadlines.first;
      if (tracked === undefined) return Infinity;
      const at = Math.max(tracked.deadline, this.#heldUntil);
      if (now < at) return at;
      this.#startAction(tracked, now, token);
    }
    return Infinity;
  }

  #startAction(tracked: Tracked, now: number, token: bigint): void {
    const { key, version, lookAt, replaced } = tracked;
    const looks = version === undefined || lookAt <= now;
    // Until the first settled view of its term, this leader may not have heard the owner. The view stays settled in a stall: an
    // owner that was not heard in one puts its key again.
    if (!looks && !replaced && ownerOf(tracked) !== undefined && !this.#settled) {
      tracked.endsAt = now + this.limits.graceMs / 4;
      return this.#schedule(tracked);
    }
    this.#deadlines.delete(tracked);
    const call = (this.#lastCall += 1);
    this.#calls.set(call, tracked);
    tracked.call = call;
    tracked.looks = looks;
    if (looks) this.#effects.push({ type: 'look', call, key });
    else this.#effects.push({ type: replaced ? 'close' : 'delete', call, token, version });
  }

  #startTrims(now: number, token: bigint): number {
    for (;;) {
      const most = this.#untrimmed.length >= this.limits.keys ? this.limits.trims : 1;
      if (this.#untrimmed.length === 0 || this.#trims.size >= most) return Infinity;
      if (now < this.#trimsPausedUntil) return this.#trimsPausedUntil;
      const key = this.#untrimmed.pop()!;
      const call = (this.#lastCall += 1);
      this.#trims.set(call, { key, startedAt: now });
      this.#effects.push({ type: 'trim', call, token, key });
    }
  }
}

function wakeFor(at: number): number {
  return Math.ceil(at / WAKE_MS) * WAKE_MS;
}

/** The incarnation of the process while whose membership a key stays. */
function ownerOf({ version }: Tracked): string | undefined {
  return version !== undefined && 'owner' in version.lifetime ? version.lifetime.owner.incarnation : undefined;
}

function isNewer(version: ExpiringVersion, { version: known }: Tracked): boolean {
  return known === undefined || comparePlaces(version, known) > 0;
}
