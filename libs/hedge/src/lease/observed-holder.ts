import type { LeaseRecord } from '../database/lease-table.js';
import { shortestElapsed, type Instant } from '../common/clock.js';
import type { MemberId } from '../common/identity.js';
import type { LeaseHolder } from './lease-contender.messages.js';

/** Who holds the lease, as far as one contender knows, and what it has told of it. */
export class ObservedHolder {
  #another: (LeaseHolder & { readonly seenAt: Instant; readonly expiresInMs: number }) | undefined;
  #told: LeaseHolder | undefined;

  constructor(private readonly self: MemberId) {}

  /** Another that holds the lease, as last read. */
  get another(): LeaseHolder | undefined {
    return this.#another;
  }

  learn({ holder, token, expiresInMs }: LeaseRecord, now: Instant): void {
    const another = holder !== undefined && holder.incarnation !== this.self.incarnation && expiresInMs > 0;
    this.#another = another ? { member: holder, token, seenAt: now, expiresInMs } : undefined;
  }

  forget(): void {
    this.#another = undefined;
  }

  /** Nothing new could be read: what is known stands until that lease would have run out. */
  age(now: Instant): void {
    const another = this.#another;
    if (another !== undefined && shortestElapsed(another.seenAt, now) >= another.expiresInMs) this.forget();
  }

  /** The effect's content if who holds the lease has changed since last asked. */
  take(ownToken: bigint | undefined): { readonly holder?: LeaseHolder } | undefined {
    const holder = ownToken === undefined ? this.#another : { member: this.self, token: ownToken };
    const told = this.#told;
    if (holder?.token === told?.token && holder?.member.incarnation === told?.member.incarnation) return undefined;
    this.#told = holder && { member: holder.member, token: holder.token };
    return this.#told === undefined ? {} : { holder: this.#told };
  }
}
