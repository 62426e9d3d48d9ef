import { backoffMs } from '../../common/backoff.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { ChangesPage, LogEntry, LogPlace, LogTable } from '../../database/log-table.js';
import type { LeaderRoute } from '../../messaging/leader-route.js';
import { bytesPayload, type Encoded, type OutgoingRequest } from '../../messaging/message.js';
import { KvNotice, KvWatch } from '../../wire/hedge/v1/link.js';
import { KV_WATCH } from './watch-announcer.runner.js';
import type { WatchScope } from './watch-notices.core.js';
import { WATCH_PAGE, type WatchEffect, type WatchInput, type WatchReader } from './watch-reader.core.js';

/**
 * All watches read the log this often at least, so that they see also rows that no leader of this group has announced: those
 * of other groups, and late ones of a former leader. The leader waits until then for a commit before it answers.
 */
const HOLD_MS = 10_000;
/** The answer may be late by this much. */
const ANSWER_MS = 5_000;

/** A read that fails for longer is logged, once. */
const LONG_FAILURE_MS = 60_000;

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 1_000;

/** More scopes, or longer ones, are asked for as one scope of all keys. */
const MOST_SCOPES = 100;
const MOST_SCOPE_CHARACTERS = 32 * 1_024;

export interface WatchHubOptions {
  readonly log: Pick<LogTable, 'changes'>;
  readonly clock: Clock;
  readonly route: Pick<LeaderRoute, 'current' | 'onChange'>;
  readonly request: (request: OutgoingRequest) => PromiseLike<Encoded>;
  readonly random: () => number;
  /** Calls a function at the end of this turn of the event loop. Default: `setImmediate`. */
  readonly soon?: (run: () => void) => void;
  /** Default: `HOLD_MS`. */
  readonly holdMs?: number;
  /** Rows in one read. Default: `WATCH_PAGE`. */
  readonly pageRows?: number;
  readonly warn?: (message: string) => void;
}

interface Watching {
  readonly scope: WatchScope;
  readonly reader: WatchReader;
  readonly deliver: (entry: LogEntry) => void;
  readonly closed: (error?: HedgeError) => void;
  /** Rows of the next read: fewer after each failure, because the values may be too large for one answer. */
  rows: number;
  /** When the first of the failed reads failed, since the last one that did not. */
  failedAt: number | undefined;
  /** When the last read began that found no more rows, by the monotonic clock. */
  readAt: number | undefined;
  /** Called after a read that began after that time and found nothing. */
  readonly catchUps: Set<{ readonly since: number; readonly done: () => void }>;
  ended: boolean;
}

/** A watch of this pod. */
export interface OpenWatch {
  /** Asks for the next entry, which is then delivered once. */
  want(): void;
  /** Milliseconds since this watch had certainly delivered all rows; undefined before it has. */
  ageMs(): number | undefined;
  /** Calls the function when all rows were delivered that were visible at this call. */
  whenCaughtUp(done: () => void): void;
  end(): void;
}

interface Question {
  readonly leader: string;
  readonly scopes: Scopes;
  readonly hurried: boolean;
  readonly abort: AbortController;
}

/** The reads that begin at the end of this turn, by scope and place. */
type Reads = Map<string, { scope: WatchScope; after: LogPlace; rows: number; watchings: Watching[] }>;

/** Runs the `WatchReader`s of a pod, and asks the leader when it must read. */
export class WatchHub {
  readonly #watchings = new Set<Watching>();
  #session = '';
  #seen = 0;
  /** The question that the leader has not answered. */
  #asked: Question | undefined;
  /**
   * The leader must answer the next question at once: it replaces one that lacked a new scope. It is not replaced in its
   * turn, so that its answer arrives, however often watches begin.
   */
  #hurried = false;
  /** When all watches were last told to read, by the monotonic clock. */
  #allReadAt = -Infinity;
  #asksLater = false;
  #failures = 0;
  #reads: Reads = new Map();
  #closed = false;

  constructor(private readonly options: WatchHubOptions) {
    options.route.onChange(() => this.#leaderChanged());
  }

  /**
   * @param deliver called once after each `want`.
   * @param closed called when the pod stops, or with the error that ends this watch: COMPACTED, or the one that the database
   *   will always give. Not after `end`.
   */
  open(
    scope: WatchScope,
    reader: WatchReader,
    deliver: (entry: LogEntry) => void,
    closed: Watching['closed'] = () => undefined,
  ): OpenWatch {
    const catchUps: Watching['catchUps'] = new Set();
    const { pageRows = WATCH_PAGE } = this.options;
    const watching: Watching = {
      scope,
      reader,
      deliver,
      closed,
      rows: pageRows,
      failedAt: undefined,
      readAt: undefined,
      catchUps,
      ended: this.#closed,
    };
    if (this.#closed) closed();
    else {
      this.#watchings.add(watching);
      this.#askAbout(scope);
    }
    return {
      want: () => this.#step(watching, { type: 'wanted' }),
      whenCaughtUp: (done) => {
        catchUps.add({ since: this.options.clock.now().mono, done });
        this.#step(watching, { type: 'noticed' });
      },
      ageMs: () => watching.readAt && this.options.clock.now().mono - watching.readAt,
      end: () => this.#end(watching),
    };
  }

  #end(watching: Watching): void {
    watching.ended = true;
    if (this.#watchings.delete(watching) && this.#watchings.size === 0) this.#asked?.abort.abort();
  }

  /** No call begins any more. */
  close(): void {
    this.#closed = true;
    this.#asked?.abort.abort();
    for (const watching of this.#watchings) {
      watching.ended = true;
      watching.closed();
    }
    this.#watchings.clear();
  }

  #step(watching: Watching, input: WatchInput): void {
    if (watching.ended) return;
    for (const effect of watching.reader.step(input)) this.#perform(watching, effect);
  }

  #perform(watching: Watching, effect: WatchEffect): void {
    switch (effect.type) {
      case 'read':
        return this.#readSoon(watching, effect.after);
      case 'deliver':
        return watching.deliver(effect.entry);
      case 'compacted':
        this.#end(watching);
        return watching.closed(compacted(watching.scope, effect.before));
      case 'retry':
        this.options.clock.after(effect.afterMs, () => this.#step(watching, { type: 'retry' }));
    }
  }

  /** Watches of one scope that are at the same place share a read. It begins later than all notices of this turn. */
  #readSoon(watching: Watching, after: LogPlace): void {
    const { scope, rows } = watching;
    const { soon = setImmediate } = this.options;
    if (this.#reads.size === 0) soon(() => this.#readAll());
    const name = JSON.stringify([nameOf(scope), rows, String(after.timestamp), after.id, after.key]);
    const same = this.#reads.get(name);
    if (same === undefined) this.#reads.set(name, { scope, after, rows, watchings: [watching] });
    else same.watchings.push(watching);
  }

  #readAll(): void {
    const reads = this.#reads;
    this.#reads = new Map();
    const { log, pageRows = WATCH_PAGE } = this.options;
    for (const { scope, after, rows, watchings } of reads.values()) {
      const startedAt = this.options.clock.now().mono;
      const read = (page: ChangesPage): void => {
        for (const watching of watchings) {
          watching.rows = pageRows;
          watching.failedAt = undefined;
          if (!watching.reader.isCompacted(page)) {
            if (!page.more) watching.readAt = startedAt;
            this.#catchUp(watching, page, startedAt);
          }
          this.#step(watching, { type: 'page', page });
        }
      };
      const failed = (error: unknown): void => {
        for (const watching of watchings) this.#failed(watching, error);
      };
      log.changes({ ...scope, after, limit: rows }).then(read, failed);
    }
  }

  #failed(watching: Watching, error: unknown): void {
    if (watching.ended) return;
    if (error instanceof HedgeError && error.code === 'INVALID_ARGUMENT') {
      this.#end(watching);
      return watching.closed(error);
    }
    const { clock, random, warn } = this.options;
    const now = clock.now().mono;
    const { failedAt = now } = watching;
    if (now - failedAt >= LONG_FAILURE_MS) {
      warn?.(
        `A watch of ${nameOf(watching.scope)} has read nothing for ${LONG_FAILURE_MS / 1_000} s, and tries again until the database answers: ${messageOf(error)}`,
      );
      watching.failedAt = Infinity;
    } else watching.failedAt = failedAt;
    watching.rows = Math.max(1, watching.rows >>> 1);
    this.#step(watching, { type: 'failed', random: random() });
  }

  /** The reader has taken all earlier entries, or it would not have read. */
  #catchUp({ reader, catchUps }: Watching, { entries, more }: ChangesPage, startedAt: number): void {
    if (entries.length === 0 && !more) {
      for (const catchUp of catchUps) {
        if (catchUp.since > startedAt) continue;
        catchUps.delete(catchUp);
        catchUp.done();
      }
    }
    // Another read follows when the entries of this one are taken.
    if (catchUps.size > 0) reader.step({ type: 'noticed' });
  }

  #askAbout(scope: WatchScope): void {
    const asked = this.#asked;
    if (asked === undefined) return this.#ask();
    if (asked.hurried || isAmong(asked.scopes, scope)) return;
    this.#hurried = true;
    asked.abort.abort();
  }

  #leaderChanged(): void {
    const leader = this.options.route.current()?.leader.incarnation;
    if (leader === undefined || leader === this.#asked?.leader) return;
    if (this.#asked === undefined) this.#ask();
    else this.#asked.abort.abort();
  }

  #ask(): void {
    const { route, request } = this.options;
    const leader = route.current()?.leader;
    if (this.#closed || this.#asked !== undefined || this.#asksLater || this.#watchings.size === 0) return;
    if (leader === undefined) return this.#askLater();
    const scopes = scopesOf(this.#watchings);
    const asked = { leader: leader.incarnation, scopes, hurried: this.#hurried, abort: new AbortController() };
    const holdMs = asked.hurried ? 0 : Math.max(0, Math.ceil(this.#untilAllRead()));
    this.#asked = asked;
    this.#hurried = false;
    const { signal } = asked.abort;
    const question = KvWatch.encode({
      session: this.#session,
      seen: this.#seen,
      scopes: [...scopes.values()],
      holdMs,
    }).finish();
    request({
      to: leader,
      type: KV_WATCH,
      topic: '',
      name: 'watch',
      payload: bytesPayload(question),
      timeoutMs: holdMs + ANSWER_MS,
      signal,
    }).then(
      ({ bytes }) => {
        this.#asked = undefined;
        const notice = noticeOf(bytes);
        if (notice === undefined) return this.#askLater();
        this.#noticed(scopes, notice);
        this.#ask();
      },
      () => {
        this.#asked = undefined;
        if (signal.aborted) return this.#ask();
        this.#askLater();
      },
    );
  }

  /** While the leader does not answer, or is not known, the watches read at this pace. */
  #askLater(): void {
    if (this.#asksLater) return;
    this.#asksLater = true;
    this.#failures += 1;
    const pauseMs = backoffMs(this.#failures, FIRST_RETRY_MS, LONGEST_RETRY_MS, this.options.random());
    const again = (): void => {
      this.#asksLater = false;
      this.#noticeAll();
      this.#ask();
    };
    // As a question does, it keeps the process alive for the readers of the watches.
    this.options.clock.after(pauseMs, again, true);
  }

  #noticed(asked: Scopes, { session, seen, touched, all }: KvNotice): void {
    this.#failures = 0;
    this.#session = session;
    this.#seen = seen;
    if (all || this.#untilAllRead() <= 0) return this.#noticeAll();
    const places = [...asked.values()];
    const meant = named(touched.flatMap((place) => places[place] ?? []));
    // The answer is not about a watch that has begun since the question. Its rows may be among the commits up to `seen`.
    this.#notice(({ scope }) => isAmong(meant, scope) || !isAmong(asked, scope));
  }

  /** Milliseconds until all watches must read. */
  #untilAllRead(): number {
    const { clock, holdMs = HOLD_MS } = this.options;
    return this.#allReadAt + holdMs - clock.now().mono;
  }

  #noticeAll(): void {
    this.#allReadAt = this.options.clock.now().mono;
    this.#notice(() => true);
  }

  #notice(isMeant: (watching: Watching) => boolean): void {
    for (const watching of this.#watchings) if (isMeant(watching)) this.#step(watching, { type: 'noticed' });
  }
}

function compacted(scope: WatchScope, before: bigint): HedgeError {
  const time = new Date(Number(before / 1_000_000n)).toISOString();
  return new HedgeError(
    'COMPACTED',
    `The watch of ${nameOf(scope)} ended: kv.retention has deleted versions that it had not read. All versions from ${time} on are left. Begin a new watch, await its ready, and then read the entries of the keys.`,
    { details: { from: { key: '', version: String(before), id: '' } } },
  );
}

/** Scopes by `nameOf`. */
type Scopes = ReadonlyMap<string, WatchScope>;

const ALL_KEYS: WatchScope = { prefix: '', exact: false };

/** Undefined for an answer of a later version that this one cannot read. */
function noticeOf(bytes: Uint8Array): KvNotice | undefined {
  try {
    return KvNotice.decode(bytes);
  } catch {
    return undefined;
  }
}

function nameOf({ prefix, exact }: WatchScope): string {
  return `${exact ? 'key' : 'prefix'} ${prefix}`;
}

function named(scopes: Iterable<WatchScope>): Scopes {
  return new Map([...scopes].map((scope) => [nameOf(scope), scope]));
}

/** Whether this scope, or that of all keys, is among those. */
function isAmong(scopes: Scopes, scope: WatchScope): boolean {
  return scopes.has(nameOf(scope)) || scopes.has(nameOf(ALL_KEYS));
}

/** Each scope once; one scope of all keys when there are too many. */
function scopesOf(watchings: ReadonlySet<Watching>): Scopes {
  const scopes = named([...watchings].map(({ scope }) => scope));
  const characters = [...scopes.values()].reduce((sum, { prefix }) => sum + prefix.length, 0);
  const tooMany = scopes.size > MOST_SCOPES || characters > MOST_SCOPE_CHARACTERS;
  return tooMany ? named([ALL_KEYS]) : scopes;
}
