import { Membership } from '../../libs/hedge/src/membership/membership.core.js';
import type { View } from '../../libs/hedge/src/membership/view.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import type { LockEffect, LockInput } from '../../libs/hedge/src/locks/lock.messages.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderEffect, ContenderInput } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import { RequestRouter } from '../../libs/hedge/src/messaging/client/request-routing.core.js';
import type { RoutingEffect, RoutingInput } from '../../libs/hedge/src/messaging/client/request-routing.messages.js';
import { HANDLER_SLOTS } from '../../libs/hedge/src/messaging/request-type.js';
import type { PodCall } from './pod-messaging.js';
import { PLANTED_DATABASES } from './planted-databases.js';
import { PLANTED_SEMAPHORES } from './planted-semaphores.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Counts a term's validity from the answer to a renewal, not from its request. */
class ValidFromTheEnd extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    const before = this.term?.validSince;
    const effects = super.step(input, now);
    if (this.term !== undefined && this.term.validSince !== before) this.term = { ...this.term, validSince: now };
    return effects;
  }
}

/** Checks validity by the monotonic clock alone, which stands still while the machine sleeps. */
class IgnoresSleep extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    const effects = super.step(input, now);
    if (this.term !== undefined) this.term = { ...this.term, validSince: { ...this.term.validSince, wall: Infinity } };
    return effects;
  }
}

/** Judges a lapsed term again, when the clock may have been set back. */
class JudgesAgain extends LeaseContender {
  override step(input: ContenderInput, now: Instant): readonly ContenderEffect[] {
    return super.step(input.type === 'lapsed' ? { type: 'tick' } : input, now);
  }
}

/** The same for a lock. */
class JudgesLocksAgain extends LockStateMachine {
  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    return super.step(input.type === 'lapsed' ? { type: 'tick' } : input, now);
  }
}

/** Grants a lock to the next caller of the process under the token of the last one, without a call to the database. */
class HandsLocksOn extends LockStateMachine {
  readonly #waiting = new Set<number>();

  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    if (input.type === 'wait') this.#waiting.add(input.waiter);
    if (input.type === 'cancel-wait') this.#waiting.delete(input.waiter);
    const [next] = this.#waiting;
    const handsOn = input.type === 'release' && this.term?.token === input.token && next !== undefined;
    const effects: readonly LockEffect[] = handsOn
      ? [
          ...super.step({ type: 'cancel-wait', waiter: next }, now),
          { type: 'granted', waiter: next, token: input.token },
        ]
      : super.step(input, now);
    for (const effect of effects) if ('waiter' in effect) this.#waiting.delete(effect.waiter);
    return effects;
  }
}

/** Does not notify the holder of a lock that its lease has expired. */
class HidesLosses extends LockStateMachine {
  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    return super.step(input, now).filter((effect) => effect.type !== 'lost' || effect.reason !== 'expired');
  }
}

/** Accepts a view of any epoch. */
class AcceptsAnyView extends Membership {
  protected override received(_from: MemberId, view: View): void {
    this.accepted = view;
  }
}

/** Accepts a later view without a check of the lease. */
class BelievesPeers extends Membership {
  protected override received(from: MemberId, view: View): void {
    const later = this.accepted === undefined || view.epoch > this.accepted.epoch;
    if (later) this.accepted = view;
    else super.received(from, view);
  }
}

/** Counts each lost leader as the first one. */
class ForgetsLostLeaders extends RequestRouter<PodCall> {
  readonly #calls = new Set<PodCall>();

  override step(input: RoutingInput<PodCall>, now: number): readonly RoutingEffect<PodCall>[] {
    if (input.type === 'begin') this.#calls.add(input.call);
    for (const call of this.#calls) call.lostLeaders = 0;
    return super.step(input, now);
  }
}

/** Checks deadlines only once a second. */
class SeldomLooksAtDeadlines extends RequestRouter<PodCall> {
  #ticked = -Infinity;

  override step(input: RoutingInput<PodCall>, now: number): readonly RoutingEffect<PodCall>[] {
    if (input.type === 'tick' && now - this.#ticked < 1_000) return [];
    if (input.type === 'tick') this.#ticked = now;
    return super.step(input, now);
  }
}

/** Bugs of leases, members, requests, databases and semaphores, each with the invariants that must find it. */
export const PLANTED: Readonly<Record<string, PlantedBug>> = {
  'validity counted from the end of a renewal': {
    parts: { ...SOUND_PARTS, election: (settings) => new ValidFromTheEnd(settings) },
    found: ['L1', 'L2'],
    conditions: { database: 'shared-clock', fault: 'leader with a slow database pauses' },
  },
  'validity by the monotonic clock alone': {
    parts: { ...SOUND_PARTS, election: (settings) => new IgnoresSleep(settings) },
    found: ['L1', 'L2'],
    conditions: { fault: 'sleep' },
  },
  'a lapsed term judged again': {
    parts: { ...SOUND_PARTS, election: (settings) => new JudgesAgain(settings) },
    found: ['L3'],
    conditions: { fault: 'wall clock set ahead for one reading' },
  },
  'a lapsed lock judged again': {
    parts: { ...SOUND_PARTS, lock: (settings) => new JudgesLocksAgain(settings) },
    found: ['L3'],
    conditions: { fault: 'wall clock set ahead for one reading' },
  },
  'a lock granted to the next caller under the same token': {
    parts: { ...SOUND_PARTS, lock: (settings) => new HandsLocksOn(settings) },
    found: ['L1'],
  },
  'a lock that expires without a notification of its holder': {
    parts: { ...SOUND_PARTS, lock: (settings) => new HidesLosses(settings) },
    found: ['L3'],
  },
  'a view accepted from any epoch': {
    parts: { ...SOUND_PARTS, membership: (settings) => new AcceptsAnyView(settings) },
    found: ['M1'],
  },
  'a later view accepted without a check of the lease': {
    parts: { ...SOUND_PARTS, membership: (settings) => new BelievesPeers(settings) },
    found: ['M1'],
  },
  ...PLANTED_DATABASES,
  ...PLANTED_SEMAPHORES,
  'a reply dropped before the caller has received it': {
    parts: { ...SOUND_PARTS, forgetsRepliesEarly: true },
    found: ['once per term'],
  },
  'a request that crashes its leaders sent to every next one': {
    parts: { ...SOUND_PARTS, router: (self, random) => new ForgetsLostLeaders(self, random) },
    found: ['bounded re-runs'],
  },
  'deadlines checked once a second': {
    parts: { ...SOUND_PARTS, router: (self, random) => new SeldomLooksAtDeadlines(self, random) },
    found: ['every call ends'],
  },
  'renewals that share the slots of handlers': {
    parts: { ...SOUND_PARTS, served: (type) => ({ ...type, slots: HANDLER_SLOTS }) },
    found: ['slots of their own'],
  },
};
