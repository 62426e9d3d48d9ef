import type { LeaseRecord } from '../database/lease-table.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { LeaseHolder } from './lease-contender.messages.js';

/** The holder of a lease as one contender saw it last, and the holder that it reported last. */
export class ObservedHolder {
  #other: (LeaseHolder & { readonly seenAt: Instant; readonly expiresInMs: number }) | undefined;
  #reported: LeaseHolder | undefined;

  constructor(private readonly self: MemberId) {}

  /** Another process that holds the lease, as last read. */
  get other(): LeaseHolder | undefined {
    return this.#other;
  }

  observe({ holder, token, expiresInMs }: LeaseRecord, now: Instant): void {
    const other = holder !== undefined && holder.incarnation !== this.self.incarnation && expiresInMs > 0;
    this.#other = other ? { member: holder, token, seenAt: now, expiresInMs } : undefined;
  }

  forget(): void {
    this.#other = undefined;
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
