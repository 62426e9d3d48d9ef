import type { AcquireConditions } from '../../libs/hedge/src/database/lease-observer.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import { type LeaseClaim, type LeaseRow, SimulatedDatabase } from './database.js';
import { SimulatedDriver } from './driver.js';
import type { PlantedBug } from './search.js';
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
  override renewLease(name: string, claim: LeaseClaim, token: bigint): boolean {
    return super.renewLease(name, claim, token, this.row(name).renewals + 1n);
  }
}

/** Counts an announced renewal from the announcement before it. */
class CountsFromTheLastAnnouncement extends SimulatedDriver {
  #last: { readonly token: bigint; readonly at: Instant } | undefined;

  override observeRenewal(name: string, marker: LeaseMarker, sentAt: Instant): void {
    const at = this.now();
    super.observeRenewal(name, marker, sentAt, this.#last?.token === marker.token ? this.#last.at : at);
    this.#last = { token: marker.token, at };
  }
}

/** Counts an announced renewal from when it was sent, by the clocks of the sender. */
class CountsFromTheSend extends SimulatedDriver {
  override observeRenewal(name: string, marker: LeaseMarker, sentAt: Instant): void {
    super.observeRenewal(name, marker, sentAt, sentAt);
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
  protected override mayTake(row: LeaseRow, holder: MemberId, conditions: AcquireConditions): boolean {
    return super.mayTake(row, holder, conditions) || conditions.expired !== undefined;
  }
}

/** Bugs of announced renewals, each with the invariants that must find it. */
export const PLANTED_ANNOUNCEMENTS: Readonly<Record<string, PlantedBug>> = {
  'a renewal announced before its commit, with the number of commits': {
    parts: {
      ...SOUND_PARTS,
      election: (settings) => new AnnouncesBeforeTheCommit(settings),
      database: (...made) => new NumbersRenewalsByCommits(...made),
    },
    found: ['L1', 'L2'],
  },
  'an announced renewal counted from the announcement before it': {
    parts: { ...SOUND_PARTS, driver: (...made) => new CountsFromTheLastAnnouncement(...made) },
    found: ['L1', 'L2'],
  },
  'an announced renewal counted from its send, by the clock of the leader': {
    parts: { ...SOUND_PARTS, driver: (...made) => new CountsFromTheSend(...made) },
    found: ['L1', 'L2'],
  },
  'a lease that is not read when the announcements end': {
    parts: { ...SOUND_PARTS, election: (settings) => new WaitsForAnnouncements(settings) },
    found: ['failover'],
  },
  'a take-over that does not compare the marker': {
    parts: { ...SOUND_PARTS, database: (...made) => new ComparesNoMarker(...made) },
    found: ['L1', 'L2'],
  },
};
