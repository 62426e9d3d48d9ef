import type { Instant } from '../../libs/hedge/src/common/clock.js';
import {
  LeaseRenewer,
  type RenewerEffect,
  type RenewerInput,
} from '../../libs/hedge/src/lease/renewal/lease-renewer.core.js';
import type { TermRenewer } from '../../libs/hedge/src/lease/renewal/term-renewer.js';
import { PodRenewer } from './pod-renewer.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Counts a term from the answer to a renewal. */
class ValidFromTheAnswer extends LeaseRenewer {
  protected override validFrom(_startedAt: Instant, answeredAt: Instant): Instant {
    return answeredAt;
  }
}

/** Renews for a main thread that hangs. */
class IgnoresStalls extends LeaseRenewer {
  protected override stalled(): boolean {
    return false;
  }
}

/** Considers each renewal acknowledged that was sent. */
class TrustsUnanswered extends LeaseRenewer {
  override step(input: RenewerInput, now: Instant, turnedAt: number): readonly RenewerEffect[] {
    if (input.type !== 'answered') return super.step(input, now, turnedAt);
    const results = input.results.map(() => ({ renewed: true }) as const);
    return super.step({ ...input, results }, now, turnedAt);
  }
}

/** Goes on with terms that the main thread has released. */
class RenewsReleased extends PodRenewer {
  override drop(): void {}
}

/** The memory of a lease is that of its last renewal, whatever its term. */
class SharesMemory extends PodRenewer {
  #last = new Map<string, ReturnType<TermRenewer['renewed']>>();

  override renewed(name: string, token: bigint): ReturnType<TermRenewer['renewed']> {
    const renewed = super.renewed(name, token) ?? this.#last.get(name);
    this.#last.set(name, renewed);
    return renewed;
  }
}

/** A thread that replaces a dead one numbers its renewals from the beginning. */
class NumbersFromTheBegin extends PodRenewer {
  protected override lastSent(): number {
    return 0;
  }
}

/** Bugs of renewals by another thread, each with the invariants that must find it. */
export const PLANTED_STALLS: Readonly<Record<string, PlantedBug>> = {
  'validity counted from the answer to a renewal of the thread': {
    parts: { ...SOUND_PARTS, renewer: (settings) => new ValidFromTheAnswer(settings) },
    found: ['L1', 'L2'],
  },
  'a renewal without an answer counted': {
    parts: { ...SOUND_PARTS, renewer: (settings) => new TrustsUnanswered(settings) },
    found: ['L1', 'L2'],
  },
  'a main thread that hangs for ever renewed for': {
    parts: { ...SOUND_PARTS, renewer: (settings) => new IgnoresStalls(settings) },
    found: ['failover'],
  },
  'a released lease renewed': {
    parts: { ...SOUND_PARTS, podRenewer: (...made) => new RenewsReleased(...made) },
    found: ['L1', 'L2', 'L3', 'L4'],
  },
  'a renewal of an earlier term counted for the present one': {
    parts: { ...SOUND_PARTS, podRenewer: (...made) => new SharesMemory(...made) },
    found: ['stall', 'L1', 'L2', 'L3', 'L4'],
  },
  'renewals numbered again after the death of the thread': {
    parts: { ...SOUND_PARTS, podRenewer: (...made) => new NumbersFromTheBegin(...made) },
    found: ['L1', 'L2', 'L3', 'L4', 'stall'],
  },
};
