import {
  Membership,
  type MembershipEffect,
  type MembershipInput,
} from '../../libs/hedge/src/membership/membership.core.js';
import { applyChanges, type View, type ViewChanges } from '../../libs/hedge/src/membership/view.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Applies changes also to a view that lacks earlier ones, as if none were ever lost. */
class IgnoresLostChanges extends Membership {
  protected override applied(changes: ViewChanges): View | undefined {
    const view = this.accepted;
    return view && applyChanges({ ...view, version: Math.max(view.version, changes.base) }, changes);
  }
}

/** Applies changes in the order of their arrival. */
class AppliesOldChanges extends Membership {
  protected override applied(changes: ViewChanges): View | undefined {
    const view = this.accepted;
    if (view === undefined || view.epoch !== changes.epoch || view.version <= changes.version)
      return super.applied(changes);
    const later = applyChanges({ ...view, version: changes.base }, changes);
    return later && { ...later, version: view.version + 1 };
  }
}

/** As leader, names an earlier base than the changes have. */
class NamesTheWrongBase extends Membership {
  override step(input: MembershipInput, now: Instant): readonly MembershipEffect[] {
    return super.step(input, now).map((effect) => {
      return effect.type === 'send-changes' ? { ...effect, changes: { ...effect.changes, base: 1 } } : effect;
    });
  }
}

/** Bugs, each with the invariants of `simulateLargeGroup` that must find it. */
export const PLANTED_VIEWS: Readonly<Record<string, PlantedBug>> = {
  'changes of a view applied although earlier ones were lost': {
    parts: { ...SOUND_PARTS, membership: (settings) => new IgnoresLostChanges(settings) },
    found: ['M1'],
  },
  'changes of a view applied in the order of their arrival': {
    parts: { ...SOUND_PARTS, membership: (settings) => new AppliesOldChanges(settings) },
    found: ['M1'],
  },
  'changes of a view sent with the wrong base': {
    parts: { ...SOUND_PARTS, membership: (settings) => new NamesTheWrongBase(settings) },
    found: ['M1'],
  },
};
