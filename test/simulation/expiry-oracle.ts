import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { EXPIRED_SUFFIX, type LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { Lifetime } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { SimulatedDatabase } from './database.js';
import { EXPIRY_LIMITS, EXPIRY_PREFIX } from './pod-expiry.js';
import { violated } from './violation.js';
import type { World } from './world.js';

/** The clocks of machines differ from true time by this much. */
const SLOWEST = 0.96;
const FASTEST = 1.04;
/** For an election to be noticed, reads, deletions, and attempts that fail. */
const SLACK_MS = 3_000;

interface Committed {
  readonly entry: LogEntry;
  readonly lifetime: Lifetime;
  /** By true time. */
  readonly at: number;
}

/**
 * K6: a key is deleted because of its time to live only when that has passed since the commit of its newest version, or for its
 * owner only when that is gone. Each version with a lifetime has its expiry row in the same commit, and is deleted in the end.
 */
export class ExpiryOracle {
  /** By id. */
  readonly #committed = new Map<string, Committed>();
  #unchecked: LogEntry | undefined;
  /** Set when nothing fails any more, and the group has recovered. */
  nothingFails = false;
  /** When the database last lost commits: then a deletion may be lost, and the leader need not know. */
  #lostAt = -Infinity;

  constructor(
    private readonly world: World,
    private readonly database: SimulatedDatabase,
    private readonly isAlive: (incarnation: string) => boolean,
  ) {}

  /** A version with a time to live was committed. */
  written(entry: LogEntry, lifetime: Lifetime): void {
    this.world.count('expiry: put');
    this.#committed.set(entry.id, { entry, lifetime, at: this.world.now });
    this.#unchecked = entry;
  }

  /** A key was deleted because its time to live was over. @param before its newest version before. */
  expired({ key, id }: LogEntry, before: LogEntry | undefined): void {
    const expired = id.slice(0, -EXPIRED_SUFFIX.length);
    const put = this.#committed.get(expired);
    if (put === undefined) violated('K6', `${key} was deleted for ${expired}, which has no time to live`);
    if (before?.id !== expired)
      violated('K6', `${key} was deleted for ${expired}, and its newest version is ${before?.id}`);
    const { lifetime } = put;
    const age = this.world.now - put.at;
    if ('ttlMs' in lifetime && age * FASTEST < lifetime.ttlMs - 1e-6)
      violated('K6', `${key} was deleted ${Math.round(age)} ms after its put with ${lifetime.ttlMs} ms`);
    if ('owner' in lifetime) this.#ownerGone(key, lifetime.owner);
    this.world.count('expiry: deleted');
  }

  /** What a leader takes for gone need not be, while the network fails, or right after an election. */
  #ownerGone(key: string, { incarnation }: MemberId): void {
    const alive = this.isAlive(incarnation);
    this.world.count(alive ? 'expiry: deleted for an owner that lives' : 'expiry: deleted for an owner that is gone');
    if (alive && this.nothingFails) violated('K6', `${key} was deleted, and ${incarnation} is alive`);
  }

  wentBack(): void {
    this.#lostAt = this.world.now;
    this.#unchecked = undefined;
  }

  /** To call after every step, which is one commit at most. */
  check(): void {
    const entry = this.#unchecked;
    this.#unchecked = undefined;
    if (entry === undefined) return;
    const rows = this.database.versions(EXPIRY_PREFIX + entry.key);
    if (!rows.some(({ id, timestamp }) => id === entry.id && timestamp === entry.timestamp))
      violated('K6', `${entry.id} of ${entry.key} was committed without its expiry row`);
  }

  /**
   * @param settledAt when faults have ended and a leader was elected.
   * @param alive the incarnations of the processes that run.
   * @param acknowledged by the caller of the put.
   */
  finish(settledAt: number, alive: ReadonlySet<string>, acknowledged: (entry: LogEntry) => boolean): void {
    const keys = new Set([...this.#committed.values()].map(({ entry }) => entry.key));
    if ((this.database.acquiredAt ?? 0) < this.#lostAt) return;
    for (const key of keys) {
      const newest = this.database.versions(key).at(-1);
      const put = newest && this.#committed.get(newest.id);
      if (put === undefined) continue;
      const from = Math.max(put.at, settledAt, this.database.acquiredAt ?? 0);
      const { lifetime } = put;
      if ('owner' in lifetime && alive.has(lifetime.owner.incarnation)) continue;
      const staysMs = 'owner' in lifetime ? 2 * EXPIRY_LIMITS.graceMs : lifetime.ttlMs;
      const lateMs = acknowledged(put.entry) ? 0 : EXPIRY_LIMITS.lateMs;
      const leftMs = from + (lateMs + staysMs) / SLOWEST + SLACK_MS - this.world.now;
      if (leftMs < 0) violated('K6', `${newest?.id} of ${key} is still there, ${Math.round(-leftMs)} ms too late`);
    }
  }
}
