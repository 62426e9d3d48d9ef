import { HedgeError } from '../../common/errors.js';
import type { LogEntry } from '../../database/log-table.js';
import type { JobDefinition } from './job-definition.js';

/** The pause of a job. `at` is in milliseconds since 1970, by the clock of the leader. */
export interface JobPause {
  readonly at: number;
  readonly by: string;
  readonly reason?: string;
}

/** A job that was added at run time. */
export interface AddedJob {
  /** The time since when the job exists, as `JobPause.at`. */
  readonly at: number;
  readonly by: string;
  /** Without the name. */
  readonly definition: Omit<JobDefinition, 'name'>;
}

/** The present state of one job in the registry. A decorated job without a record was never changed. */
export interface JobRecord {
  /** Present for a job that was added at run time. */
  readonly added?: AddedJob;
  /** Absent while the job is not paused. */
  readonly paused?: JobPause;
  /** The end of the last pause, as `JobPause.at`. */
  readonly resumedAt?: number;
}

export type JobRecords = ReadonlyMap<string, JobRecord>;

/** A change of the registry. */
export type JobChange = {
  readonly name: string;
  readonly by: string;
  readonly reason?: string;
} & (
  | { readonly type: 'pause' | 'resume' | 'remove' }
  /** Also changes the definition of a job that is there. */
  | { readonly type: 'add'; readonly definition: AddedJob['definition'] }
);

/** A row of the registry: all records, and the changes since the row before. */
export interface RegistryRow {
  readonly token: bigint;
  /** Counts the rows of a term, from 1. */
  readonly number: number;
  readonly pod: string;
  readonly changes: readonly JobChange[];
  readonly records: JobRecords;
}

/** @returns the records after the change. To pause a paused job, or to resume another one, leaves its record as it is. */
export function changed(records: JobRecords, change: JobChange, wall: number): JobRecords {
  const { type, name, by, reason } = change;
  const { paused, ...record } = records.get(name) ?? {};
  if (type === 'remove') return new Map([...records].filter(([other]) => other !== name));
  if (type === 'add') {
    // A job that is there keeps the time since when it exists, so that none of its firings is passed over.
    const added = { at: record.added?.at ?? wall, by, definition: change.definition };
    return new Map([...records, [name, { ...records.get(name), added }]]);
  }
  if ((type === 'pause') === (paused !== undefined)) return records;
  const pause = { at: wall, by, ...(reason !== undefined && { reason }) };
  return new Map([
    ...records,
    [name, type === 'pause' ? { ...record, paused: pause } : { ...record, resumedAt: wall }],
  ]);
}

/** The same row has the same id and text, so that a write is repeatable. */
export function registryRowId({ token, number }: RegistryRow): string {
  return `${token} ${number}`;
}

export function encodeRegistryRow({ token, number, pod, changes, records }: RegistryRow): string {
  const jobs = Array.from(records, ([name, record]) => ({ ...record, name }));
  return JSON.stringify({ token: String(token), number, pod, changes, jobs });
}

/** @throws HedgeError CONFLICT for a row of another writer. */
export function decodeRegistryRow({ key, id, value }: Pick<LogEntry, 'key' | 'id' | 'value'>): RegistryRow {
  try {
    const { token, jobs, ...row } = JSON.parse(value) as { token: string; jobs: (JobRecord & { name: string })[] };
    // Fields of a later version stay in the records, so that this version does not remove them.
    const records = new Map(jobs.map(({ name, ...record }) => [name, record]));
    return { ...(row as Pick<RegistryRow, 'number' | 'pod' | 'changes'>), token: BigInt(token), records };
  } catch {
    throw new HedgeError(
      'CONFLICT',
      `The row "${id}" of the key "${key}", which says which jobs are paused, cannot be decoded: another program wrote it. No job runs until the row is deleted.`,
      { details: { key, id } },
    );
  }
}
