import { withTokenInJson } from '../common/token-in-json.js';
import type { LogEntry } from '../database/log-table.js';
import { HedgeError } from '../common/errors.js';

const EVENTS = ['scheduled', 'claimed', 'done', 'failed', 'lost', 'missed', 'skipped'] as const;

/**
 * The kind of a row in the ledger of a job:
 * - `scheduled`: the job has the timetable `schedule` from `fireTime` on. The first row, and one row for each change.
 * - `claimed`: the pod is about to run the firing.
 * - `done`, `failed`: the run ended with that outcome.
 * - `lost`: the pod of the run lost the leadership before it recorded the outcome. The run may have reached any point.
 * - `missed`: no leader could run these firings in time, or the job was paused.
 * - `skipped`: these firings were due while an earlier firing still ran.
 */
export type JobEvent = (typeof EVENTS)[number];

/** Whether a row with this event says what happened to a firing. */
export function isFiring(event: JobEvent): boolean {
  return event !== 'scheduled' && event !== 'claimed';
}

/** A call of `runNow`, in the claim and the outcomes of its run. */
export interface RunRequest {
  /** No two claims have the same. */
  readonly id: string;
  /** The person or pod that asked for the run. */
  readonly by: string;
  readonly reason?: string;
}

/** A row as the scheduler writes and reads it. Times are in milliseconds since 1970. */
export interface LedgerRow {
  readonly event: JobEvent;
  /** Nominal time; the time of the request for a run that was not due. For `missed` and `skipped`: the first one. */
  readonly fireTime: number;
  /** For `missed` and `skipped`: the last nominal time. Otherwise `fireTime`. */
  readonly through: number;
  /** For `missed` and `skipped`: the number of firings. Otherwise 1. */
  readonly count: number;
  /** 0 when no run took place. */
  readonly attempt: number;
  /** The pod of the run, or the pod that wrote the row when no run took place. */
  readonly pod: string;
  readonly incarnation: string;
  readonly token: bigint;
  /** The timetable of the row. */
  readonly schedule: string;
  /** Set for `scheduled`, if the row before it is one of the same time: counts these, from 1. */
  readonly revision?: number;
  readonly durationMs?: number;
  /** The error of the method, or of the transaction. */
  readonly error?: string;
  /** Set for the claim and the outcome of a run whose transaction writes `done`. */
  readonly transactional?: boolean;
  /** Set for `missed`, if the firings, or the first ones of them, were due while the job was paused. */
  readonly paused?: boolean;
  /** Set for the claim and the outcomes of a run that `runNow` began. */
  readonly requested?: RunRequest;
}

/**
 * One entry in the history of a job. A controller can return it: `JSON.stringify` writes the token as text.
 *
 * @example
 * {
 *   event: 'done', fireTime: new Date('2026-01-01T03:00:00Z'), lastFireTime: new Date('2026-01-01T03:00:00Z'), count: 1,
 *   attempt: 1, pod: '10.0.0.7:7400', incarnation: '0f7c…', fencingToken: 1767225600123456789n,
 *   schedule: '0 3 * * * UTC', durationMs: 1840, recordedAt: new Date('2026-01-01T03:00:02.112Z'),
 * }
 */
export interface JobEntry {
  readonly event: JobEvent;
  /**
   * Nominal time of the firing; the time of the request for a run of `runNow` that was not due. For `missed` and `skipped`:
   * the first one.
   */
  readonly fireTime: Date;
  /** For `missed` and `skipped`: the last nominal time. Otherwise `fireTime`. */
  readonly lastFireTime: Date;
  /** For `missed` and `skipped`: the number of firings, where 100 means 100 or more. Otherwise 1. */
  readonly count: number;
  /** The attempt of this firing, from 1; 0 when no run took place. */
  readonly attempt: number;
  /** Advertised address of the pod that ran it, or that wrote the entry when no run took place. */
  readonly pod: string;
  /** Incarnation of that pod: a UUID. */
  readonly incarnation: string;
  /** Fencing token of that pod. */
  readonly fencingToken: bigint;
  readonly schedule: string;
  /** For `done` and `failed`: the duration of the run in milliseconds. */
  readonly durationMs?: number;
  /** For `failed`: the error of the method, or of its transaction. */
  readonly error?: string;
  /** `true` for the claim and the outcome of a run of a transactional job. Then `done` was committed with its writes. */
  readonly transactional?: boolean;
  /** `true` for `missed`, if the firings, or the first ones of them, were due while the job was paused. */
  readonly paused?: boolean;
  /** For the claim and the outcomes of a run that `runNow` began. */
  readonly requested?: RunRequest;
  /** The commit time of the entry. */
  readonly recordedAt: Date;
}

/** Limit of the stored error of a method, in characters. */
const MAX_ERROR_LENGTH = 1_000;

/**
 * The id of a row, derived from the firings that it accounts for. The table can contain only one claim of each attempt, and
 * only one outcome: another value with the same id is a CONFLICT. The claim of a requested run has the id of the request, so
 * that a repeated request is claimed once.
 */
export function rowIdOf({ event, through, attempt, token, revision, requested }: LedgerRow): string {
  if (event === 'claimed' && requested !== undefined) return requestedRowId(requested.id);
  const time = new Date(through).toISOString();
  if (event === 'claimed') return `${time} ${attempt} claim`;
  if (event === 'missed' || event === 'skipped') return `${time} passed over`;
  // A timetable may change and change back between two firings, also in one term.
  if (event === 'scheduled') return `${time} scheduled ${token}${revision === undefined ? '' : ` ${revision}`}`;
  return `${time} ${attempt} outcome`;
}

/** The row id of the claim of a requested run. @param id of the request */
export function requestedRowId(id: string): string {
  return `requested ${id}`;
}

/** The outcome of a run: `failed` with an error, `done` without one. */
export function outcomeOf(claim: LedgerRow, { durationMs, error }: { durationMs: number; error?: string }): LedgerRow {
  return {
    ...claim,
    event: error === undefined ? 'done' : 'failed',
    durationMs,
    ...(error !== undefined && { error }),
  };
}

/** Encodes a row. The same row has the same text, so that a write is repeatable. */
export function encodeRow({ fireTime, through, token, error, ...row }: LedgerRow): string {
  return JSON.stringify({
    ...row,
    fireTime: new Date(fireTime).toISOString(),
    through: new Date(through).toISOString(),
    token: String(token),
    ...(error !== undefined && { error: cleaned(error) }),
  });
}

/** @throws HedgeError CONFLICT for a row of another writer. */
export function decodeRow({ key, id, value }: Pick<LogEntry, 'key' | 'id' | 'value'>): LedgerRow {
  const row = decodedOf(value);
  if (row !== undefined) return row;
  throw new HedgeError(
    'CONFLICT',
    `The row "${id}" of the ledger "${key}" cannot be decoded: another program, or a newer version of this library, wrote it. The job does not run until the row is deleted.`,
    { details: { key, id } },
  );
}

function decodedOf(value: string): LedgerRow | undefined {
  try {
    const row = JSON.parse(value) as Record<string, unknown>;
    const decoded = {
      ...row,
      fireTime: Date.parse(String(row['fireTime'])),
      through: Date.parse(String(row['through'])),
      token: BigInt(String(row['token'])),
    } as LedgerRow;
    const { event, fireTime, through } = decoded;
    if (EVENTS.includes(event) && Number.isFinite(fireTime) && Number.isFinite(through)) return decoded;
  } catch {
    // Not JSON, or a token that is no number.
  }
  return undefined;
}

/** @returns undefined for a row of another writer, which `decodeRow` rejects */
export function toJobEntry(entry: LogEntry): JobEntry | undefined {
  const decoded = decodedOf(entry.value);
  if (decoded === undefined) return undefined;
  const { fireTime, through, token, revision: _revision, ...row } = decoded;
  return withTokenInJson({
    ...row,
    fireTime: new Date(fireTime),
    lastFireTime: new Date(through),
    fencingToken: token,
    recordedAt: new Date(Number(entry.timestamp / 1_000_000n)),
  });
}

/** Removes characters that a database rejects: see `assertText`. */
function cleaned(error: string): string {
  return error
    .slice(0, MAX_ERROR_LENGTH)
    .replaceAll('\0', '')
    .replace(/\p{Surrogate}/gu, '\ufffd');
}
