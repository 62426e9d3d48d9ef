import type { LeaseRecord } from '../database/lease-table.js';
import type { LeaseMarker } from '../database/observed-lease.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { LeaseHolder } from './lease-contender.messages.js';

/**
 * The holder of a lease as one contender saw it last, and the holder that it reported last.
 *
 * A holder may announce its renewals. Its announcements count only for the term that a read has shown, and only if they
 * do not go back. They decide when this contender reads the lease again, never who holds it.
 */
export class ObservedHolder {
  #other: (LeaseHolder & { readonly seenAt: Instant; readonly expiresInMs: number }) | undefined;
  /** The last announcement of `#other`. */
  #announced: { readonly renewals: bigint; readonly at: Instant } | undefined;
  #reported: LeaseHolder | undefined;

  constructor(private readonly self: MemberId) {}

  /** Another process that holds the lease, as last read. */
  get other(): LeaseHolder | undefined {
    return this.#other;
  }

  observe({ holder, token, expiresInMs }: LeaseRecord, now: Instant): void {
    const other = holder !== undefined && holder.incarnation !== this.self.incarnation && expiresInMs > 0;
    if (!other || token !== this.#other?.token) this.#announced = undefined;
    this.#other = other ? { member: holder, token, seenAt: now, expiresInMs } : undefined;
  }

  forget(): void {
    this.#other = this.#announced = undefined;
  }

  /**
   * A member announces a renewal.
   * @param leaseMs the length of its lease.
   * @returns `new` or `repeated`; undefined when the announcement does not count.
   */
  announced(
    from: MemberId,
    { token, renewals }: LeaseMarker,
    leaseMs: number,
    now: Instant,
  ): 'new' | 'repeated' | undefined {
    const other = this.#other;
    if (other === undefined || token !== other.token || from.incarnation !== other.member.incarnation) return undefined;
    const last = this.#announced?.renewals;
    if (last !== undefined && renewals < last) return undefined;
    this.#announced = { renewals, at: now };
    if (renewals === last) return 'repeated';
    this.#other = { ...other, seenAt: now, expiresInMs: leaseMs };
    return 'new';
  }

  /** Whether the holder has announced a renewal within that time. */
  announcedWithin(ms: number, now: Instant): boolean {
    return this.#announced !== undefined && shortestElapsed(this.#announced.at, now) < ms;
  }

  /** No announcement of that member arrives any more. True when the last ones were of it. */
  silenced(member: MemberId): boolean {
    if (this.#announced === undefined || member.incarnation !== this.#other?.member.incarnation) return false;
    this.#announced = undefined;
    return true;
  }

  /** Milliseconds until the lease of the other process expires, by this process's clock; 0 without a holder. */
  expiresInMs(now: Instant): number {
    const other = this.#other;
    return other === undefined ? 0 : Math.max(0, other.expiresInMs - shortestElapsed(other.seenAt, now));
  }

  /** A read failed: the known holder stays until its lease has expired. */
  expire(now: Instant): void {
    const other = this.#other;
    if (other !== undefined && shortestElapsed(other.seenAt, now) >= other.expiresInMs) this.forget();
  }

  /** The content of a `holder-changed` effect; undefined if the holder is the one of the last call. */
  change(ownToken: bigint | undefined): { readonly holder?: LeaseHolder } | undefined {
    const holder = ownToken === undefined ? this.#other : { member: this.self, token: ownToken };
    const reported = this.#reported;
    if (holder?.token === reported?.token && holder?.member.incarnation === reported?.member.incarnation)
      return undefined;
    this.#reported = holder && { member: holder.member, token: holder.token };
    return this.#reported === undefined ? {} : { holder: this.#reported };
  }
}
