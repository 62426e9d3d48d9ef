import type { Instant } from '../../libs/hedge/src/common/clock.js';
import { HeldPermits } from '../../libs/hedge/src/semaphores/client/held-permits.core.js';
import type { GrantedPermit } from '../../libs/hedge/src/semaphores/server/permit-row.js';
import { SemaphoreQueue } from '../../libs/hedge/src/semaphores/server/semaphore-queue.core.js';
import type {
  SemaphoreEffect,
  SemaphoreInput,
} from '../../libs/hedge/src/semaphores/server/semaphore-queue.messages.js';
import { SimulatedSemaphoreRows } from './semaphore-rows.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Revokes at the start of its term all permits in the row that were not renewed at this leader. */
class TakesBackWhatItInherits extends SemaphoreQueue {
  protected override lastHeard(id: string): number {
    const heard = super.lastHeard(id);
    return heard === this.since ? -Infinity : heard;
  }
}

/** Grants to the next caller, also when it is not heard. */
class GrantsToTheSilent extends SemaphoreQueue {
  protected override hears(): boolean {
    return true;
  }
}

/** Grants in a new database at once, without regard to permits of the old one. */
class IgnoresTheReplacement extends SemaphoreQueue {
  override step(input: SemaphoreInput, now: number): readonly SemaphoreEffect[] {
    return super.step('unseenForMs' in input ? { ...input, unseenForMs: 0 } : input, now);
  }
}

/** Counts a permit as free once for each release. */
class FreesTwice extends SemaphoreQueue {
  readonly #released = new Set<string>();
  #again = 0;

  override step(input: SemaphoreInput, now: number): readonly SemaphoreEffect[] {
    if (input.type === 'release') {
      if (this.#released.has(input.id)) this.#again += 1;
      this.#released.add(input.id);
    }
    return super.step(input, now);
  }

  protected override free(limit: number, held: ReadonlyMap<string, GrantedPermit>): number {
    return super.free(limit, held) + this.#again;
  }
}

/** Counts the validity of permits from the answer to a renewal, not from its sending. */
class ValidFromTheAnswer extends HeldPermits {
  #now: Instant | undefined;

  protected override renewed(renewal: number, unknown: readonly string[], now: Instant): void {
    this.#now = now;
    super.renewed(renewal, unknown, now);
  }

  protected override confirm(holding: { confirmedAt: Instant }): void {
    if (this.#now !== undefined) holding.confirmedAt = this.#now;
  }
}

/** Replaces the row without a check of its version. */
class WritesWithoutVersion extends SimulatedSemaphoreRows {
  protected override mayReplace(): boolean {
    return true;
  }
}

/** Bugs of semaphores, each with the invariants that must find it. */
export const PLANTED_SEMAPHORES: Readonly<Record<string, PlantedBug>> = {
  'permits revoked too early after a change of leader': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made) => new TakesBackWhatItInherits(...made) },
    found: ['S1'],
  },
  'permits granted at once in a new database': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made) => new IgnoresTheReplacement(...made) },
    found: ['S1'],
    conditions: { database: 'file', fault: 'database replaced', permitMs: 6_000 },
  },
  'permits granted to a caller that is not heard': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made) => new GrantsToTheSilent(...made) },
    found: ['S2'],
    conditions: { fault: 'crash' },
  },
  'a permit counted as free again for a second release': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made) => new FreesTwice(...made) },
    found: ['S1'],
  },
  'the validity of a permit counted from the answer to its renewal': {
    parts: { ...SOUND_PARTS, heldPermits: (timing) => new ValidFromTheAnswer(timing) },
    found: ['S1'],
    conditions: { fault: 'permit holder gets answers late, and is cut off' },
  },
  'the row of a semaphore replaced without a check of its version': {
    parts: { ...SOUND_PARTS, semaphoreRows: (database) => new WritesWithoutVersion(database) },
    found: ['S1'],
  },
};
