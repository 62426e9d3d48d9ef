import type { SemaphoreRow, SemaphoreWrite } from '../../libs/hedge/src/database/permit-table.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { PermitHandle } from '../../libs/hedge/src/semaphores/client/permit.js';
import { readState } from '../../libs/hedge/src/semaphores/server/permit-row.js';
import type { Machine } from './machine.js';
import { violated } from './violation.js';
import type { World } from './world.js';

/** The semaphores of a history, and their limits. */
export const SEMAPHORES: Readonly<Record<string, number>> = { one: 1, three: 3 };

export const SIMULATED_GROUP = 'simulated';

/** Whether the row of a semaphore has a permit. */
export function isInRow(row: SemaphoreRow | undefined, name: string, id: string): boolean {
  return row !== undefined && readState({ group: SIMULATED_GROUP, name }, row).held.has(id);
}

/** A leader notices a broken link within this time, unless it stands still. */
const UNLINKED_WITHIN = 600;

export interface SemaphoreNeed {
  readonly name: string;
  readonly limit: number;
  readonly permits: number;
  readonly wait: boolean;
}

/** A process, as this oracle sees it. */
export interface Holding {
  readonly self: MemberId;
  readonly alive: boolean;
  readonly machine: Machine;
  readonly semaphores: { holds(id: string): boolean };
}

interface Held {
  readonly pod: Holding;
  readonly permit: PermitHandle;
}

/** Checks S1, S2 and S3 over the whole group, in true time, by the validity of permits in each process. */
export class SemaphoreOracle {
  readonly #held = new Map<string, Set<Held>>(Object.keys(SEMAPHORES).map((name) => [name, new Set()]));
  readonly #deaths = new Map<string, number>();
  /** The processes that requested permits. */
  readonly #owners = new Map<string, string>();
  readonly #tokens = new Map<string, bigint>();
  /** The permits of which the database has lost the grant. */
  readonly #lost = new Set<string>();
  /** The permits of leaders that could not know of lost ones. */
  readonly #unaware = new Set<string>();
  #unserved = 0;

  constructor(
    private readonly world: World,
    private readonly machine: (address: string) => Machine,
  ) {}

  /** Permits that were acquired and not released, and whose holder lives. */
  get held(): readonly Held[] {
    return [...this.#held.values()].flatMap((all) => [...all]);
  }

  granted(pod: Holding, permit: PermitHandle): void {
    const { name, fencingToken: token, id } = permit;
    this.world.count('semaphores: granted');
    if (this.#owners.has(id)) violated('S3', `permit ${id} was granted twice`);
    this.#owners.set(id, pod.self.incarnation);
    if (this.#lost.has(id)) this.world.count('semaphores: lost the record of a grant');
    else if (SEMAPHORES[name] === 1 && token <= (this.#tokens.get(name) ?? 0n)) {
      violated('S1', `${pod.self.incarnation} was granted ${name} with token ${token}, which is not above the last`);
    }
    if (!this.#lost.has(id)) this.#tokens.set(name, token);
    this.#held.get(name)?.add({ pod, permit });
  }

  died(self: MemberId): void {
    this.#deaths.set(self.incarnation, this.world.now);
  }

  /** S2: a write of a leader grants nothing to processes that it must know to be gone. */
  decided({ name, value, limit }: SemaphoreWrite, leader: MemberId): void {
    const { held } = readState({ group: SIMULATED_GROUP, name }, { limit, value, timestamp: 0n });
    for (const { id, holder, token } of held.values()) {
      const diedAt = this.#deaths.get(holder.incarnation);
      // Only a new grant has no token.
      if (diedAt === undefined || token !== 0n) continue;
      const known = diedAt + UNLINKED_WITHIN;
      if (this.world.now > known && this.machine(leader.address).ranSince(diedAt)) {
        violated('S2', `${leader.incarnation} grants ${id} of ${name} to a process that died`);
      }
    }
  }

  /** The database has lost a row, and has the one before it again. */
  lost(name: string, row: SemaphoreRow, before: SemaphoreRow | undefined): void {
    for (const id of idsOf(name, row)) this.#lost.add(id);
    for (const id of idsOf(name, before)) this.#lost.delete(id);
    this.#tokens.set(name, (before?.timestamp ?? 1n) - 1n);
  }

  /**
   * A row was replaced.
   * @param unaware the leader cannot know that the database has lost commits.
   */
  written(write: SemaphoreWrite, before: SemaphoreRow | undefined, unaware: boolean): void {
    const { name, limit, value } = write;
    const after = readState({ group: SIMULATED_GROUP, name }, { limit, value, timestamp: 0n }).held;
    const already = new Set(idsOf(name, before));
    if (unaware) for (const id of after.keys()) if (!already.has(id)) this.#unaware.add(id);
    let count = 0;
    for (const { permits } of after.values()) count += permits;
    if (count > limit) violated('S1', `the row of ${name} has ${count} permits, and its limit is ${limit}`);
    const taken = [...already].filter((id) => !after.has(id));
    for (const id of taken) {
      this.world.count('semaphores: taken out of the row');
      for (const { pod, permit } of this.#held.get(name) ?? []) {
        if (permit.id === id && pod.semaphores.holds(id)) {
          violated('S1', `${id} of ${name} was taken out of the row while ${pod.self.incarnation} takes it for valid`);
        }
      }
    }
  }

  /** An acquisition that must succeed. */
  expect(): () => void {
    this.#unserved += 1;
    return () => {
      this.#unserved -= 1;
    };
  }

  /** To call after every step. */
  check(): void {
    for (const [name, all] of this.#held) {
      let valid = 0;
      let lost = 0;
      let unaware = false;
      for (const held of all) {
        const { id, permits } = held.permit;
        if (held.pod.semaphores.holds(id)) {
          valid += permits;
          if (this.#lost.has(id)) lost += permits;
          if (this.#unaware.has(id)) unaware = true;
        }
        // Only a bug can make a permit valid again, so a permit is checked as long as its process lives.
        else if (!held.pod.alive) all.delete(held);
      }
      // The documented exception: a leader grants permits again whose grants are lost, and cannot know that.
      const excused = unaware ? lost : 0;
      if (valid - excused > (SEMAPHORES[name] ?? 0)) violated('S1', `${valid} permits of ${name} are valid`);
    }
  }

  released(permit: PermitHandle): void {
    for (const held of this.#held.get(permit.name) ?? []) {
      if (held.permit === permit) this.#held.get(permit.name)?.delete(held);
    }
  }

  finish(): void {
    if (this.#unserved > 0) violated('S2', `${this.#unserved} semaphores are still held by nobody who lives`);
  }
}

function idsOf(name: string, row: SemaphoreRow | undefined): string[] {
  return row === undefined ? [] : [...readState({ group: SIMULATED_GROUP, name }, row).held.keys()];
}
