import {
  Membership,
  type MembershipEffect,
  type MembershipInput,
} from '../../libs/hedge/src/membership/membership.core.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Never resigns. */
class KeepsTheLease extends Membership {
  override step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    return super.step(input, now).filter(({ type }) => type !== 'resign');
  }
}

/** Resigns whenever a live member does not reach it. */
class ResignsForAnyReport extends Membership {
  protected override mayResign(): boolean {
    return true;
  }
}

/** Resigns when most members are silent, without a check whether they live. */
class ResignsForSilence extends Membership {
  override step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    const effects = super.step(input, now);
    const silent = effects.some(({ type }) => type === 'members-silent');
    return silent ? [...effects, { type: 'resign', better: { address: '', incarnation: '' } }] : effects;
  }
}

/** Campaigns again as soon as another pod has led, also if that one is as unreachable. */
class CampaignsAtOnce extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    return super.step(input.type === 'resign' ? { type: 'resign' } : input, now);
  }
}

/** Reports the last view as settled, also when the leader does not answer. */
class IgnoresLostContact extends Membership {
  override get settled(): boolean {
    return this.accepted?.settled ?? false;
  }
}

/** For this bug, `simulateLeaderEnd` must find A4. */
export const PLANTED_EARLY_REPORT: PlantedBug = {
  parts: {
    ...SOUND_PARTS,
    membership: (settings) => new Membership({ ...settings, timing: { ...settings.timing, leaseMs: 0 } }),
  },
  found: ['A4'],
};

/** Bugs, each with the invariants of `simulateReachability` that must find it. */
export const PLANTED_REACHABILITY: Readonly<Record<string, PlantedBug>> = {
  'a leader that never resigns': {
    parts: { ...SOUND_PARTS, membership: (settings) => new KeepsTheLease(settings) },
    found: ['A1'],
  },
  'a leader that resigns although no member reaches more': {
    parts: { ...SOUND_PARTS, membership: (settings) => new ResignsForAnyReport(settings) },
    found: ['A2'],
  },
  'a leader that resigns because members have ended': {
    parts: { ...SOUND_PARTS, membership: (settings) => new ResignsForSilence(settings) },
    found: ['A2'],
  },
  'an unreachable leader that campaigns again at once': {
    parts: { ...SOUND_PARTS, election: (settings) => new CampaignsAtOnce(settings) },
    found: ['A2'],
  },
  'a view that stays settled without contact': {
    parts: { ...SOUND_PARTS, membership: (settings) => new IgnoresLostContact(settings) },
    found: ['A3'],
  },
};
