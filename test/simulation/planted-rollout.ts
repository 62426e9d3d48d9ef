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

/** Hands over to a version to which the group has handed over before. */
class HandsOverAgain extends Membership {
  override step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    return super.step(input.type === 'hand-over-claimed' ? { ...input, granted: true } : input, now);
  }
}

/** Counts each member as ready to lead. */
class IgnoresReadiness extends Membership {
  override step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    const ready = { appVersion: '2.0', startedAt: now.wall };
    return super.step(input.type === 'heartbeat' ? { ...input, candidate: input.candidate ?? ready } : input, now);
  }
}

/** Names no successor, so any pod may acquire the lease. */
class NamesNobody extends Membership {
  override successor(): undefined {
    return undefined;
  }
}

/** Campaigns although another pod is the named successor. */
class IgnoresTheSuccessor extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    return super.step(input.type === 'lease-released' ? { ...input, successor: undefined } : input, now);
  }
}

/** Learns of its stop only as leader. */
class CampaignsWhileItStops extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    return input.type === 'stop' && this.term === undefined ? [] : super.step(input, now);
  }
}

/** Bugs, each with the invariants of `simulateRollout` that must find it. */
export const PLANTED_ROLLOUT: Readonly<Record<string, PlantedBug>> = {
  'two hand-overs to one version': {
    parts: { ...SOUND_PARTS, membership: (settings) => new HandsOverAgain(settings) },
    found: ['H2'],
  },
  'a hand-over to a pod that is not ready': {
    parts: { ...SOUND_PARTS, membership: (settings) => new IgnoresReadiness(settings) },
    found: ['H3'],
  },
  'a leader that names no successor': {
    parts: { ...SOUND_PARTS, membership: (settings) => new NamesNobody(settings) },
    found: ['H3'],
  },
  'a pod that ignores the named successor': {
    parts: { ...SOUND_PARTS, election: (settings) => new IgnoresTheSuccessor(settings) },
    found: ['H3'],
  },
  'a stopping pod that campaigns': {
    parts: { ...SOUND_PARTS, election: (settings) => new CampaignsWhileItStops(settings) },
    found: ['H1'],
  },
};
