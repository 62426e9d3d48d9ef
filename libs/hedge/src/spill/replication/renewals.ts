import type { Clock } from '../../common/clock.js';
import type { MemberId } from '../../common/identity.js';
import { bytesPayload } from '../../messaging/message.js';
import type { Messenger } from '../../messaging/messenger.js';
import { RequestKind } from '../../wire/hedge/v1/link.js';
import { SpillRenewal } from '../../wire/hedge/v1/spill.js';

export interface RenewalsOptions {
  readonly messenger: Pick<Messenger, 'request'>;
  readonly clock: Clock;
  readonly everyMs: number;
}

/** What one member is to be told of one store. */
interface Ward {
  closedSession: number;
  /** Sequences, and the session up to which their copies do not count. */
  readonly discarded: Map<number, number>;
}

interface Holding {
  readonly member: MemberId;
  /** Of live stores, by epoch. */
  readonly wards: Map<number, Ward>;
  /** It may hold something that it has not been told to free. */
  owed: boolean;
  renewing: Promise<void> | undefined;
}

/**
 * Tells the members that hold parts of this pod's stores which of those live, again and again: what is not named
 * any more they free, and everything once they hear nothing. Discards are repeated until they are heard.
 */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #holdings = new Map<string, Holding>();
  readonly #live = new Set<number>();
  #issued = 0;
  #number = 0;
  #cancelTimer: (() => void) | undefined;
  #stopped = false;

  constructor(options: RenewalsOptions) {
    this.#options = options;
  }

  /** The number of a new store. */
  issue(): number {
    this.#issued += 1;
    this.#live.add(this.#issued);
    return this.#issued;
  }

  /** From now on that member may hold something of the store. */
  held(member: MemberId, epoch: number): void {
    this.#ward(member, epoch);
    this.#schedule();
  }

  /** Up to that session, only what was acknowledged counts; of that, not these frames. */
  discard(member: MemberId, epoch: number, session: number, sequences: readonly number[]): void {
    const { holding, ward } = this.#ward(member, epoch);
    ward.closedSession = Math.max(ward.closedSession, session);
    for (const sequence of sequences) ward.discarded.set(sequence, session);
    holding.owed = true;
  }

  /** The store is no more. Resolves when all that hold parts of it have heard so, or could not be reached. */
  async drop(epoch: number): Promise<void> {
    this.#live.delete(epoch);
    const told: Promise<void>[] = [];
    for (const holding of this.#holdings.values()) {
      if (!holding.wards.delete(epoch)) continue;
      holding.owed = true;
      // One that is on its way may not have known of it.
      told.push((holding.renewing ?? Promise.resolve()).then(() => this.#renew(holding)));
    }
    await Promise.all(told);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
  }

  /** Unless it is already: who opens ways again and again puts nothing off. */
  #schedule(): void {
    const { clock, everyMs } = this.#options;
    if (this.#stopped) return;
    this.#cancelTimer ??= clock.after(everyMs, () => {
      this.#cancelTimer = undefined;
      for (const holding of this.#holdings.values()) void this.#renew(holding);
      if (this.#holdings.size > 0) this.#schedule();
    });
  }

  /** One at a time to each member. Never rejects. */
  #renew(holding: Holding): Promise<void> {
    holding.renewing ??= this.#tell(holding).then(
      () => void (holding.renewing = undefined),
      () => {
        holding.renewing = undefined;
        // Nothing of a live store is there, and what it was not told it frees when it hears nothing.
        if (holding.wards.size === 0) this.#holdings.delete(holding.member.incarnation);
      },
    );
    return holding.renewing;
  }

  async #tell(holding: Holding): Promise<void> {
    const { messenger, everyMs } = this.#options;
    const live = [...this.#live].map((epoch) => {
      const { closedSession = 0, discarded = [] } = holding.wards.get(epoch) ?? {};
      return { epoch, closedSession, discarded: [...discarded].map(([sequence, session]) => ({ sequence, session })) };
    });
    this.#number += 1;
    const renewal = SpillRenewal.encode({ number: this.#number, issued: this.#issued, live }).finish();
    holding.owed = false;
    const kind = RequestKind.REQUEST_KIND_SPILL_RENEWAL;
    await messenger.request({
      to: holding.member,
      kind,
      topic: '',
      name: 'to keep parts of spill stores',
      payload: bytesPayload(renewal),
      timeoutMs: 2 * everyMs,
    });
    for (const { epoch, discarded } of live) {
      const left = holding.wards.get(epoch)?.discarded;
      for (const { sequence, session } of discarded) if (left?.get(sequence) === session) left.delete(sequence);
    }
    if (holding.wards.size === 0 && !holding.owed) this.#holdings.delete(holding.member.incarnation);
  }

  #ward(member: MemberId, epoch: number): { holding: Holding; ward: Ward } {
    let holding = this.#holdings.get(member.incarnation);
    if (holding === undefined) {
      holding = { member, wards: new Map(), owed: false, renewing: undefined };
      this.#holdings.set(member.incarnation, holding);
    }
    let ward = holding.wards.get(epoch);
    if (ward === undefined) {
      ward = { closedSession: 0, discarded: new Map() };
      holding.wards.set(epoch, ward);
    }
    return { holding, ward };
  }
}
