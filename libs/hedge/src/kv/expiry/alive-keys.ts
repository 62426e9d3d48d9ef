import type { Clock } from '../../common/clock.js';
import { EXPIRED_SUFFIX, type LogEntry } from '../../database/log-table.js';
import type { MemberId } from '../../common/identity.js';
import type { KvEntry } from '../kv-entry.js';

export interface AliveKeysDeps {
  readonly clock: Clock;
  /** For jitter. */
  readonly random: () => number;
  newId(): string;
  /** The newest row of a key, also a deletion. */
  newest(key: string, signal: AbortSignal): Promise<LogEntry | undefined>;
  /** Puts a key again, if `newest` is its newest row; otherwise fails. */
  put(row: Row & { readonly key: string }, newest: LogEntry | undefined, signal: AbortSignal): Promise<KvEntry>;
  /** Deletes a key, if this is its newest version. */
  remove(key: string, version: KeptVersion): Promise<unknown>;
}

/** The part of a view that this class reads. */
interface View {
  readonly epoch: bigint;
  /** Rises by one with each change within the epoch. */
  readonly version: number;
  readonly members: readonly MemberId[];
}

interface Row {
  readonly id: string;
  readonly value: string;
}

interface KeptVersion extends Row {
  /** Its commit, or a later one before any other put. */
  readonly version: bigint;
}

interface KeptKey {
  /** The newest acknowledged put. More than one after answers in another order than their commits. */
  readonly versions: readonly KeptVersion[];
  /** A put that was not answered, with the id of the row behind which it may be written. */
  readonly attempt?: Row & { readonly follows: string };
}

const CHECK_EVERY_MS = 60_000;

/** After a change that concerns all pods, their checks are spread over this time. */
const SPREAD_MS = 2_000;

/** The pause after the first failure. It doubles with each one, up to `CHECK_EVERY_MS`. */
const RETRY_MS = 1_000;

const KEYS_AT_ONCE = 64;

/**
 * The keys that this process has put with `whileAlive`. It puts a key again that the leader has deleted because it did not hear
 * this process, or that the database has lost, if nobody has put or deleted the key since.
 *
 * It reads all keys when this process comes back into the view, when another pod leads, and each minute. The latter finds a deletion
 * that was committed late.
 */
export class AliveKeys {
  readonly #kept = new Map<string, KeptKey>();
  /** The last view, if it lists this process. */
  #view: View | undefined;
  readonly #end = new AbortController();
  #checking = false;
  #retryMs = RETRY_MS;
  #nextCheckAt = Infinity;
  #stopTimer: () => void = () => undefined;

  constructor(private readonly deps: AliveKeysDeps) {}

  /** @param entry that this process has just put. */
  keep({ key, id, value, version }: KvEntry): void {
    if (this.#end.signal.aborted) return;
    const later = this.#kept.get(key)?.versions.filter((other) => other.version > version) ?? [];
    this.#kept.set(key, { versions: [{ id, value, version }, ...later] });
    this.#checkWithin(CHECK_EVERY_MS);
  }

  /** To call after each change of the view. */
  viewChanged(view: View, self: MemberId): void {
    const last = this.#view;
    const isListed = view.members.some(({ incarnation }) => incarnation === self.incarnation);
    this.#view = isListed ? view : undefined;
    if (!isListed || (last?.epoch === view.epoch && last.version + 1 >= view.version)) return;
    // Another pod leads, or this process may have been absent from a view that it has not received.
    this.#checkWithin(SPREAD_MS);
  }

  /** Deletes the keys, as far as the leader answers: the pod stops. Otherwise the leader does it when the pod has left. */
  async end(): Promise<void> {
    this.#end.abort();
    this.#stopTimer();
    const removals = [...this.#kept].flatMap(([key, { versions }]) =>
      versions.map((version) => this.deps.remove(key, version)),
    );
    this.#kept.clear();
    await Promise.allSettled(removals);
  }

  #checkWithin(ms: number): void {
    const { clock, random } = this.deps;
    const now = clock.now().mono;
    const at = now + ms * (0.5 + random() / 2);
    if (this.#kept.size === 0 || at >= this.#nextCheckAt) return;
    this.#nextCheckAt = at;
    this.#stopTimer();
    this.#stopTimer = clock.after(at - now, () => void this.#check());
  }

  async #check(): Promise<void> {
    this.#nextCheckAt = Infinity;
    if (this.#checking) return this.#checkWithin(SPREAD_MS);
    this.#checking = true;
    const keys = [...this.#kept.keys()];
    let failed = false;
    while (keys.length > 0 && !this.#end.signal.aborted) {
      const checks = keys.splice(0, KEYS_AT_ONCE).map((key) => this.#checkKey(key));
      for (const { status } of await Promise.allSettled(checks)) failed ||= status === 'rejected';
    }
    this.#checking = false;
    this.#checkWithin(failed ? this.#retryMs : CHECK_EVERY_MS);
    this.#retryMs = failed ? Math.min(CHECK_EVERY_MS, 2 * this.#retryMs) : RETRY_MS;
  }

  async #checkKey(key: string): Promise<void> {
    const { signal } = this.#end;
    const kept = this.#kept.get(key);
    const newest = await this.deps.newest(key, signal);
    // Else this process has put the key meanwhile.
    if (kept === undefined || this.#kept.get(key) !== kept) return;
    const { versions, attempt } = kept;
    const own = [...versions, ...(attempt === undefined ? [] : [attempt])].find(
      ({ id }) => newest?.id === id || newest?.id === id + EXPIRED_SUFFIX,
    );
    const isLost = versions.every(({ version }) => version > (newest?.timestamp ?? 0n));
    const last = own ?? (isLost ? versions.at(-1) : undefined);
    // Somebody else has put or deleted the key.
    if (last === undefined) return void this.#kept.delete(key);
    const { id, value } = last;
    const known = newest === undefined || own === undefined ? versions : [{ id, value, version: newest.timestamp }];
    if (newest?.id === id) return void this.#kept.set(key, { versions: known });
    const follows = newest?.id ?? '';
    // All attempts behind one row have one id, because the one before may be written later.
    const again = attempt?.follows === follows ? attempt : { id: this.deps.newId(), value, follows };
    this.#kept.set(key, { versions: known, attempt: again });
    this.keep(await this.deps.put({ key, id: again.id, value: again.value }, newest, signal));
  }
}
