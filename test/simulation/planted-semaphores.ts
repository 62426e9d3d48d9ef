import type { Instant } from '../../libs/hedge/src/common/clock.js';
import { HeldPermits } from '../../libs/hedge/src/semaphores/client/held-permits.core.js';
import type { GrantedPermit } from '../../libs/hedge/src/semaphores/server/permit-row.js';
import { SemaphoreQueue } from '../../libs/hedge/src/semaphores/server/semaphore-queue.core.js';
import type {
  SemaphoreEffect,
  SemaphoreInput,
} from '../../libs/hedge/src/semaphores/server/semaphore-queue.messages.js';
import { SimulatedSemaphoreRows } from './semaphore-rows.js';
import { SOUND_PARTS } from './simulate.js';

/** Takes back at once what it finds in the row when it begins to lead, and has not heard of. */
class TakesBackWhatItInherits extends SemaphoreQueue {
  protected override lastHeard(id: string): number {
    const heard = super.lastHeard(id);
    return heard === this.since ? -Infinity : heard;
  }
}

/** Grants to whoever is next, heard of or not. */
class GrantsToTheSilent extends SemaphoreQueue {
  protected override hears(): boolean {
    return true;
  }
}

/** Grants in a new database at once, whatever was granted in the one before. */
class IgnoresTheReplacement extends SemaphoreQueue {
  override step(input: SemaphoreInput, now: number): readonly SemaphoreEffect[] {
    return super.step('unseenForMs' in input ? { ...input, unseenForMs: 0 } : input, now);
  }
}

/** Counts a permit as free once for each time that it is released. */
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

/** Counts the validity of permits from when a renewal was answered, not from when it was sent. */
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

/** Replaces the row whatever it is by now. */
class WritesWithoutVersion extends SimulatedSemaphoreRows {
  protected override mayReplace(): boolean {
    return true;
  }
}

/** Bugs of semaphores, each with the invariants that must find it. */
export const PLANTED_SEMAPHORES = {
  'permits revoked too early after a change of leader': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made: Made) => new TakesBackWhatItInherits(...made) },
    found: ['S1'],
  },
  'permits granted at once in a database that replaced another': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made: Made) => new IgnoresTheReplacement(...made) },
    found: ['S1'],
  },
  'permits granted to who is not heard of': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made: Made) => new GrantsToTheSilent(...made) },
    found: ['S2'],
  },
  'a permit that is released again counted as free again': {
    parts: { ...SOUND_PARTS, semaphoreQueue: (...made: Made) => new FreesTwice(...made) },
    found: ['S1'],
  },
  'the validity of a permit counted from the answer to its renewal': {
    parts: {
      ...SOUND_PARTS,
      heldPermits: (...made: ConstructorParameters<typeof HeldPermits>) => new ValidFromTheAnswer(...made),
    },
    found: ['S1'],
  },
  'the row of a semaphore replaced whatever its version': {
    parts: {
      ...SOUND_PARTS,
      semaphoreRows: (...made: ConstructorParameters<typeof SimulatedSemaphoreRows>) =>
        new WritesWithoutVersion(...made),
    },
    found: ['S1'],
  },
};

type Made = ConstructorParameters<typeof SemaphoreQueue>;
