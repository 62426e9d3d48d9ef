import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import { LockQueue, type QueueNotice } from '../../libs/hedge/src/locks/lock-queue.core.js';
import type { LockEffect, LockInput } from '../../libs/hedge/src/locks/lock.messages.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Chooses the pod that came last. */
class LastComeFirstServed extends LockQueue {
  #longest = 0;

  override wait(name: string, member: MemberId, _waitedMs: number, now: Instant): QueueNotice[] {
    this.#longest += 60_000;
    return super.wait(name, member, this.#longest, now);
  }
}

class NotifiesAll extends LockQueue {
  override successor(): 'all' {
    return 'all';
  }
}

/** Once it leaves the reads to others, never reads the lease again. */
class IgnoresThatItReads extends LockStateMachine {
  #ignores = false;

  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    if (input.type === 'queued' && !input.reads) this.#ignores = true;
    return super.step(input.type === 'queued' && this.#ignores ? { ...input, reads: false } : input, now);
  }
}

/** Relies for ever on the last answer of the leader. */
class ReliesOnTheLeader extends LockStateMachine {
  #reads = true;

  override step(input: LockInput, now: Instant): readonly LockEffect[] {
    if (input.type === 'queued') ({ reads: this.#reads } = input);
    return super.step(input, now);
  }

  override get wakeAt(): number | undefined {
    return this.waitsSince !== undefined && !this.#reads ? undefined : super.wakeAt;
  }
}

/** Stays in the queue when the database does not answer. */
class WaitsWithoutTheDatabase extends LockStateMachine {
  #since: number | undefined;

  override get waitsSince(): number | undefined {
    if (this.failing && this.term === undefined) return this.#since;
    return (this.#since = super.waitsSince);
  }
}

/** Bugs of the queues of locks, each with the invariants that must find it. */
export const PLANTED_LOCK_QUEUES: Readonly<Record<string, PlantedBug>> = {
  'a leader that never drops a silent pod': {
    parts: { ...SOUND_PARTS, lockQueue: (_, startedAt) => new LockQueue(Infinity, startedAt) },
    found: ['progress'],
  },
  'a leader that chooses the last pod': {
    parts: { ...SOUND_PARTS, lockQueue: (...made) => new LastComeFirstServed(...made) },
    found: ['fair'],
  },
  'a pod that leaves the reads to others for ever': {
    parts: { ...SOUND_PARTS, lock: (settings) => new IgnoresThatItReads(settings) },
    found: ['progress'],
  },
  'a pod that relies on the last answer of the leader for ever': {
    parts: { ...SOUND_PARTS, lock: (settings) => new ReliesOnTheLeader(settings) },
    found: ['progress'],
  },
  'a pod that stays in the queue without the database': {
    parts: { ...SOUND_PARTS, lock: (settings) => new WaitsWithoutTheDatabase(settings) },
    found: ['progress'],
  },
  'a leader that notifies all pods of each release': {
    parts: { ...SOUND_PARTS, lockQueue: (...made) => new NotifiesAll(...made) },
    found: ['calls'],
  },
};
