import type { LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import { JobScheduler } from '../../libs/hedge/src/jobs/job-scheduler.core.js';
import type { SchedulerEffect, SchedulerInput } from '../../libs/hedge/src/jobs/job-scheduler.messages.js';
import { JobRegistry } from '../../libs/hedge/src/jobs/registry/job-registry.core.js';
import type { RegistryEffect, RegistryInput } from '../../libs/hedge/src/jobs/registry/job-registry.messages.js';
import { rowIdOf, type LedgerRow } from '../../libs/hedge/src/jobs/ledger.js';
import { SimulatedDatabase } from './database.js';
import { AcquiresAtOnce } from './planted-fences.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** A new leader ignores firings that were due before its term. */
class ForgetsGaps extends JobScheduler {
  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if (input.type !== 'loaded' || input.row === undefined) return super.step(input, now);
    const through = Math.max(input.row.through, Math.floor(now.wall));
    return super.step({ ...input, row: { ...input.row, through } }, now);
  }
}

/** Runs a firing again, and does not write the outcome of the attempt before. */
class RepeatsWithoutOutcome extends JobScheduler {
  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    return super.step(input, now).flatMap((effect) => {
      if (effect.type !== 'write' || !effect.row.transactional || effect.row.event === 'claimed') return [effect];
      return this.step({ type: 'written', call: effect.call }, now);
    });
  }
}

/** A new leader starts the jobs without a look at the registry. */
class ForgetsPauses extends JobRegistry {
  override step(input: RegistryInput, now: Instant): readonly RegistryEffect[] {
    return super.step(input.type === 'loaded' ? { ...input, row: undefined } : input, now);
  }
}

/** Writes a pause at once, also while a claim is being written. */
class PausesWithoutHold extends JobRegistry {
  override step(input: RegistryInput, now: Instant): readonly RegistryEffect[] {
    return super
      .step(input, now)
      .flatMap((effect) => (effect.type === 'hold' ? this.step({ type: 'held', name: effect.name }, now) : [effect]));
  }
}

/** Runs firings of a pause after it, if they are not too old. */
class ForgetsResumptions extends JobScheduler {
  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if (!('control' in input)) return super.step(input, now);
    return super.step({ ...input, control: { ...input.control, resumedAt: 0 } }, now);
  }
}

/** Follows the pauses of earlier leaders only. */
class IgnoresPauses extends JobScheduler {
  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if (!('control' in input) || input.type === 'elected') return super.step(input, now);
    return super.step({ ...input, control: { ...input.control, paused: false } }, now);
  }
}

/** Follows the removals of earlier leaders only. */
class IgnoresRemovals extends JobScheduler {
  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if (!('control' in input) || input.type === 'elected') return super.step(input, now);
    return super.step({ ...input, control: { ...input.control, removed: false } }, now);
  }
}

/** Writes a new definition at once, also while a claim by the old one is being written. */
class ReplacesWithoutHold extends JobRegistry {
  override step(input: RegistryInput, now: Instant): readonly RegistryEffect[] {
    const effects = super.step(input, now);
    const held = effects.filter(({ type }) => type === 'hold');
    if (held.length !== 1 || input.type !== 'request' || input.change?.type !== 'add') return effects;
    return [
      ...effects.filter(({ type }) => type !== 'hold'),
      ...this.step({ type: 'held', name: input.change.name }, now),
    ];
  }
}

/** Repeats a row that the database refuses. */
class RepeatsRefusedRows extends JobRegistry {
  override step(input: RegistryInput, now: Instant): readonly RegistryEffect[] {
    return super.step(input.type === 'refused' ? { ...input, type: 'call-failed', random: 0 } : input, now);
  }
}

/** The id of the version before. */
function rowIdWithoutRevision({ revision: _revision, ...row }: LedgerRow): string {
  return rowIdOf(row);
}

function timedRowId(row: LedgerRow): string {
  return row.event === 'claimed' ? `${row.through} ${row.attempt} claim` : rowIdOf(row);
}

/** Answers a request when the run is about to be claimed. */
class AcknowledgesEarly extends JobScheduler {
  readonly #answered = new Set<number>();

  override step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    const effects = super
      .step(input, now)
      .filter((effect) => effect.type !== 'settle' || !this.#answered.delete(effect.ticket));
    if (input.type !== 'request' || !effects.some(({ type }) => type === 'write')) return effects;
    this.#answered.add(input.ticket);
    return [...effects, { type: 'settle', ticket: input.ticket, outcome: 'claimed' }];
  }
}

/** Appends `done` without a comparison of the token. */
class AppendsUnfenced extends SimulatedDatabase {
  override fence(): boolean {
    return true;
  }
}

/** Writes `done` in another transaction, after the writes of the run. */
class RecordsDoneLater extends SimulatedDatabase {
  protected override record(entry: LogEntry): void {
    this.world.after(20, () => this.append([entry], entry.leader));
  }
}

/** Accepts a `done` row that is there, as an append outside of a transaction does. */
class AppendsAgain extends SimulatedDatabase {
  protected override exists(): boolean {
    return false;
  }
}

/** Bugs of the jobs, each with the invariants that must find it. */
export const PLANTED_JOBS: Readonly<Record<string, PlantedBug>> = {
  'a firing claimed without a fence': {
    parts: { ...SOUND_PARTS, claimsJobsUnfenced: true },
    found: ['J1', 'J2', 'J3'],
  },
  'firings lost that were due without a leader': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new ForgetsGaps(job, settings) },
    found: ['J2'],
  },
  'a transactional run repeated without an outcome of the attempt before': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new RepeatsWithoutOutcome(job, settings) },
    found: ['J3', 'J4'],
  },
  'outcomes with different row ids': {
    parts: { ...SOUND_PARTS, jobRowId: (row) => `${rowIdOf(row)} ${row.event}` },
    found: ['J3', 'J4'],
  },
  'a transactional run whose `done` is not fenced': {
    parts: { ...SOUND_PARTS, database: (...made) => new AppendsUnfenced(...made) },
    found: ['J1'],
    conditions: { fault: 'pod cut off from the database' },
  },
  'a `done` whose fence does not last until the commit': {
    parts: { ...SOUND_PARTS, database: (...made) => new AcquiresAtOnce(...made) },
    found: ['J1'],
    conditions: { fault: 'resign' },
  },
  '`done` recorded outside of the transaction': {
    parts: { ...SOUND_PARTS, database: (...made) => new RecordsDoneLater(...made) },
    found: ['J4'],
  },
  'a pause that the next leader forgets': {
    parts: { ...SOUND_PARTS, jobRegistry: (settings) => new ForgetsPauses(settings) },
    found: ['J5'],
  },
  'a pause written beside a claim': {
    parts: { ...SOUND_PARTS, jobRegistry: (settings) => new PausesWithoutHold(settings) },
    found: ['J5'],
  },
  'a removed job that its own leader runs on': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new IgnoresRemovals(job, settings) },
    found: ['J5'],
  },
  'a pause written without a fence': {
    parts: { ...SOUND_PARTS, changesJobsUnfenced: true },
    found: ['J5'],
    conditions: { fault: 'pod cut off from the database' },
  },
  'firings of a pause that run after it': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new ForgetsResumptions(job, settings) },
    found: ['J5'],
  },
  'a pause that its own leader does not follow': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new IgnoresPauses(job, settings) },
    found: ['J5'],
  },
  'a job that runs on by a definition that is replaced': {
    parts: { ...SOUND_PARTS, jobRegistry: (settings) => new ReplacesWithoutHold(settings) },
    found: ['J5'],
    conditions: { fault: 'links cut', redefinesJob: true },
  },
  'a refused change that blocks the next ones': {
    parts: { ...SOUND_PARTS, jobRegistry: (settings) => new RepeatsRefusedRows(settings) },
    found: ['J5'],
    conditions: { fault: 'links cut' },
  },
  'two new timetables at one time with one row id': {
    parts: { ...SOUND_PARTS, jobRowId: rowIdWithoutRevision },
    found: ['J2'],
    conditions: { fault: 'links cut', redefinesJob: true },
  },
  'a requested run whose claim is deleted soon': {
    parts: { ...SOUND_PARTS, trimsRequestedRuns: true },
    found: ['J6'],
    conditions: { fault: 'links cut' },
  },
  'a requested run whose claim has another id under the next leader': {
    parts: { ...SOUND_PARTS, jobRowId: timedRowId },
    found: ['J6'],
  },
  'a request that is acknowledged before its claim': {
    parts: { ...SOUND_PARTS, jobs: (job, settings) => new AcknowledgesEarly(job, settings) },
    found: ['J6'],
  },
  'a `done` row that may be there already': {
    parts: { ...SOUND_PARTS, database: (...made) => new AppendsAgain(...made) },
    found: ['J3', 'J4'],
  },
};
