import type { Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import { KnownTokens } from './known-tokens.js';
import type { HeldLease, LeaseRecord, RenewResult } from './lease-table.js';
import { ObservedLeases, type LeaseMarker } from './observed-lease.js';
import { ReplacedDatabase } from './replaced-database.js';
import { FOREIGN_LEASE_MS, parseWriter } from './row-names.js';

/**
 * Tokens are nanoseconds since 1970, so a higher one than this, of the year 2116, comes from no clock. The database must
 * be able to count on from the highest known token.
 */
const HIGHEST_TOKEN = 2n ** 62n;

/** A lease row as a driver read it. Its token is 0n when there is no row. */
export interface LeaseRow extends LeaseMarker {
  /** Absent when the lease is free, or its writer is of another version. */
  readonly holder?: MemberId | undefined;
  /** The length of the holder's lease in milliseconds; absent when the lease is free. */
  readonly leaseMs?: number | undefined;
  /** As `SeenLease.ageMs`. */
  readonly ageMs?: number | undefined;
}

/** The conditions of an acquisition, which its transaction must check. */
export interface AcquireConditions {
  /** The marker of a row that may be taken over; absent when none was seen for its whole lease. */
  readonly expired: LeaseMarker | undefined;
  /** Whether a missing row may be created. */
  readonly mayInsert: boolean;
  /** A row with a lower token may not be acquired: the database went back. */
  readonly known: bigint;
  /** The new token must be greater. */
  readonly above: bigint;
}

/**
 * What one process knows of lease rows in a database without a shared clock, and its judgement of each row that it reads
 * (L1). The drivers ask it before each call, and give it each row that they read. The simulation runs the same code.
 *
 * - A lease has expired when this process has seen its row unchanged for its whole length (`ObservedLeases`).
 * - A row with a lower token than this process has read or heard (`KnownTokens`) shows that the database went back: a
 *   replica without the last commits took over, or a backup was restored. A driver can also detect that the whole database
 *   was replaced. Then this process acquires nothing for a whole lease, and its next tokens are above all that it knows
 *   (`ReplacedDatabase`). If it later finds another row lowered whose token it knew before, only that row waits.
 * - A row that was held and is missing now is treated like a lease that was just renewed.
 *
 * An answer is judged by the tokens that were known before its call: an answer that is overtaken by another one shows
 * nothing. Pure; one instance per process and database.
 *
 * @example
 * const known = observer.known(name);
 * const row = await readRow(name);
 * return observer.record(name, row, known, clock.now());
 */
export class LeaseObserver {
  #observed = new ObservedLeases();
  #known = new KnownTokens();
  readonly #replaced = new ReplacedDatabase();
  /** Leases with these tokens were acquired in a database that was replaced since then. */
  #lostUpTo = 0n;
  /** This process has found that the database lost commits. */
  #hasLost = false;

  /** The highest known token of a lease: to ask before a call, for the judgement of its answer. */
  known(name: string): bigint {
    return this.#known.token(name);
  }

  /**
   * Judges a row that was read.
   * @param known `known(name)` before the read.
   * @param now not before the end of the read.
   */
  record(name: string, row: LeaseRow, known: bigint, now: Instant): LeaseRecord {
    const { token, renewals, holder } = row;
    const missing = token === 0n;
    const leaseMs = missing ? this.#known.leaseMs(name) : row.leaseMs;
    if (!missing) {
      const wentBack = token < known;
      // One loss lowers many rows, each of which is found at its first look. Only this one waits again then.
      if (wentBack && this.#known.isFromBefore(name)) this.#observed.forget(name);
      else if (wentBack) this.#wentBack(now);
      this.#replaced.seen(token, leaseMs);
      this.#known.seen(name, token, leaseMs, wentBack ? now : undefined);
    }
    // A row from before a loss may show an earlier renewal than its holder relies on.
    const ageMs = this.#hasLost ? undefined : row.ageMs;
    const expiresInMs = this.#observed.observe(name, { marker: { token, renewals }, leaseMs, ageMs }, now);
    return {
      token,
      expiresInMs: Math.max(expiresInMs, this.#quietForMs(name, 0, now)),
      ...(holder && { holder }),
    };
  }

  /** As `LeaseTable.observeRenewal`. @param now not before the announcement was received. */
  observeRenewal(name: string, marker: LeaseMarker, now: Instant): void {
    this.#observed.observeRenewal(name, marker, now);
  }

  /** The conditions under which this process may acquire the lease at `now`; undefined when it may not. */
  mayAcquire(name: string, leaseMs: number, now: Instant): AcquireConditions | undefined {
    if (this.#quietForMs(name, leaseMs, now) > 0) return undefined;
    const expired = this.#observed.expiredMarker(name, now);
    return {
      expired,
      mayInsert: !this.#known.isHeld(name) || expired !== undefined,
      known: this.#known.token(name),
      above: this.#replaced.greatestToken,
    };
  }

  /**
   * Records an acquisition of this process.
   * @returns false when this process learned during the call that the database went back, so that the lease does not
   *   count. The row keeps this holder, which acquires it again later.
   */
  acquired(name: string, token: bigint, leaseMs: number, now: Instant): boolean {
    this.#replaced.seen(token, leaseMs);
    if (this.#quietForMs(name, leaseMs, now) > 0 || this.#known.highest(name) > token) return false;
    this.#known.seen(name, token, leaseMs);
    this.#observed.forget(name);
    return true;
  }

  /**
   * Judges the answer to a renewal. A renewal does not count if a later acquisition is known, which the database has lost,
   * or if the lease was acquired in a database that was replaced.
   * @param row as the call found it or left it.
   * @param known `known(name)` before the renewal.
   * @param now not before the end of the call.
   */
  renewed({ name, token }: HeldLease, done: boolean, row: LeaseRow, known: bigint, now: Instant): RenewResult {
    const record = this.record(name, row, known, now);
    const lost = this.#known.highest(name) > token || token <= this.#lostUpTo;
    return done && !lost ? { renewed: true } : { renewed: false, record };
  }

  /** This process releases a lease. Call `released` when that is done. */
  releasing(name: string): void {
    this.#observed.forget(name);
  }

  /** The lease is free now. */
  released({ name, token }: HeldLease): void {
    this.#known.seen(name, token, undefined);
  }

  /**
   * A peer named this token: the lease was acquired, although this process may not have read that. A later read with a
   * lower token shows that the database lost the acquisition. Each token counts once, because peers repeat lost ones. A
   * wrong token costs this process one lease, in which it acquires nothing.
   * @param leaseMs the assumed length of the lease.
   */
  heard(name: string, token: bigint, leaseMs: number): void {
    if (token <= this.#lostUpTo || token > HIGHEST_TOKEN || !this.#known.heard(name, token, leaseMs)) return;
    this.#replaced.seen(token, leaseMs);
    // The row has changed since it was read.
    this.#observed.forget(name);
  }

  /**
   * The whole database was replaced by another one.
   * @param now not before it was detected.
   */
  replaced(now: Instant): void {
    this.#wentBack(now);
    this.#known = new KnownTokens();
    this.#lostUpTo = this.#replaced.greatestToken;
  }

  /** As `PermitTable.unseenForMs`. */
  permitsUnseenForMs(permitMs: number, now: Instant): number {
    return this.#replaced.permitsValidForMs(now, permitMs);
  }

  #quietForMs(name: string, leaseMs: number, now: Instant): number {
    return this.#replaced.quietForMs(now, leaseMs, this.#known.lostAt(name));
  }

  #wentBack(now: Instant): void {
    this.#hasLost = true;
    this.#replaced.replaced(now);
    this.#known.wentBack();
    this.#observed = new ObservedLeases();
  }
}

/** A row as SQL drivers store it. @param writer null when the lease is free. */
export function leaseRow(token: bigint, renewals: bigint, writer: string | null): LeaseRow {
  if (writer === null) return { token, renewals };
  const { holder, leaseMs = FOREIGN_LEASE_MS } = parseWriter(writer) ?? {};
  return { token, renewals, holder, leaseMs };
}
