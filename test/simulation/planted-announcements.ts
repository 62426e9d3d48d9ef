import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import type { Parts } from './cluster.js';
import { SimulatedDatabase, SimulatedLeaseTable } from './database.js';
import { SOUND_PARTS } from './simulate.js';

/** Numbers renewals by their commits, and announces a renewal before it is committed. */
class AnnouncesBeforeTheCommit extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    const before = this.term;
    const effects = super.step(input, now);
    if (this.term !== undefined && before?.token === this.term.token && this.term !== before) {
      this.term = { ...this.term, renewals: before.renewals + 1n };
    }
    return effects.flatMap((effect): readonly ContenderEffect[] => {
      if (effect.type === 'announce-renewed') return [];
      if (effect.type !== 'renew') return [effect];
      const renewals = (this.term?.renewals ?? 0n) + 1n;
      return [effect, { type: 'announce-renewed', marker: { token: effect.token, renewals } }];
    });
  }
}

class NumbersRenewalsByCommits extends SimulatedDatabase {
  override renewLease(claim: { holder: MemberId; leaseMs: number }, token: bigint): boolean {
    return super.renewLease(claim, token, this.row.renewals + 1n);
  }
}

/** Counts an announced renewal from the announcement before it. */
class CountsFromTheLastAnnouncement extends SimulatedLeaseTable {
  #last: { readonly token: bigint; readonly at: Instant } | undefined;

  override observeRenewal(marker: LeaseMarker, sentAt: Instant): void {
    const at = this.now();
    super.observeRenewal(marker, sentAt, this.#last?.token === marker.token ? this.#last.at : at);
    this.#last = { token: marker.token, at };
  }
}

/** Counts an announced renewal from when it was sent, by the clocks of the sender. */
class CountsFromTheSend extends SimulatedLeaseTable {
  override observeRenewal(marker: LeaseMarker, sentAt: Instant): void {
    super.observeRenewal(marker, sentAt, sentAt);
  }
}

/** Once a holder has announced a renewal, reads the lease no more. */
class WaitsForAnnouncements extends LeaseContender {
  #announced = false;

  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    if (input.type === 'renewal-announced') this.#announced = true;
    const waits = this.#announced && this.term === undefined;
    return waits && input.type === 'tick' ? [] : super.step(input, now);
  }
}

/** Takes over by a marker that was seen for a whole lease, and does not compare it with the row. */
class ComparesNoMarker extends SimulatedDatabase {
  protected override mayTake(holder: MemberId, expired: LeaseMarker | undefined): boolean {
    return super.mayTake(holder, expired) || expired !== undefined;
  }
}

/** Bugs of announced renewals, each with the invariants that must find it. */
export const PLANTED_ANNOUNCEMENTS: Readonly<
  Record<string, { readonly parts: Parts; readonly found: readonly string[] }>
> = {
  'a renewal announced before its commit, with the number of commits': {
    parts: {
      ...SOUND_PARTS,
      election: (settings) => new AnnouncesBeforeTheCommit(settings),
      database: (world, kind) => new NumbersRenewalsByCommits(world, kind),
    },
    found: ['L1', 'L2'],
  },
  'an announced renewal counted from the announcement before it': {
    parts: { ...SOUND_PARTS, leases: (...made) => new CountsFromTheLastAnnouncement(...made) },
    found: ['L1', 'L2'],
  },
  'an announced renewal counted from its send, by the clock of the leader': {
    parts: { ...SOUND_PARTS, leases: (...made) => new CountsFromTheSend(...made) },
    found: ['L1', 'L2'],
  },
  'a lease that is not read when the announcements end': {
    parts: { ...SOUND_PARTS, election: (settings) => new WaitsForAnnouncements(settings) },
    found: ['failover'],
  },
  'a take-over that does not compare the marker': {
    parts: { ...SOUND_PARTS, database: (world, kind) => new ComparesNoMarker(world, kind) },
    found: ['L1', 'L2'],
  },
};
