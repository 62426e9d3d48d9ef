import { withTokenInJson } from '../common/token-in-json.js';
import type { LogEntry } from '../database/log-table.js';
import { HedgeError } from '../common/errors.js';

const EVENTS = ['scheduled', 'claimed', 'done', 'failed', 'lost', 'missed', 'skipped'] as const;

/**
 * What a row of a job's ledger says:
 * - `scheduled`: from `fireTime` on the job has the timetable `schedule`: its first row, and one for each change.
 * - `claimed`: the pod is about to run the firing.
 * - `done`, `failed`: that run ended, and how.
 * - `lost`: the pod of that run ceased to lead before it told. It may have run to any point.
 * - `missed`: nobody could run these firings in time.
 * - `skipped`: these firings fell due while the one before still ran.
 */
export type JobEvent = (typeof EVENTS)[number];

/** A row as the scheduler makes and reads it; times in milliseconds since 1970. */
export interface LedgerRow {
  readonly event: JobEvent;
  /** Nominal time; of `missed` and `skipped` the first one. */
  readonly fireTime: number;
  /** Of `missed` and `skipped`: the last one. Else `fireTime`. */
  readonly through: number;
  /** Of `missed` and `skipped`: how many. Else 1. */
  readonly count: number;
  /** 0 where nothing ran. */
  readonly attempt: number;
  /** Whose run it is, or who made the row where nothing ran. */
  readonly pod: string;
  readonly incarnation: string;
  readonly token: bigint;
  /** The timetable that the row belongs to. */
  readonly schedule: string;
  readonly durationMs?: number;
  /** What the method threw. */
  readonly error?: string;
}

/**
 * One entry of a job's history. A controller can return it: `JSON.stringify` shows the token as digits.
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
  /** Nominal time of the firing; of `missed` and `skipped` the first one. */
  readonly fireTime: Date;
  /** Of `missed` and `skipped` the last one; else `fireTime`. */
  readonly lastFireTime: Date;
  /** Of `missed` and `skipped` how many, where 100 stands for that many or more; else 1. */
  readonly count: number;
  /** Which run of this firing, from 1; 0 where nothing ran. */
  readonly attempt: number;
  /** Advertised address of the pod that ran it, or that made the entry where nothing ran. */
  readonly pod: string;
  /** That pod's start: a UUID. */
  readonly incarnation: string;
  /** Of that pod's lease. */
  readonly fencingToken: bigint;
  readonly schedule: string;
  /** Of `done` and `failed`: how long it ran, in milliseconds. */
  readonly durationMs?: number;
  /** Of `failed`: what the method threw. */
  readonly error?: string;
  /** When the entry was committed. */
  readonly recordedAt: Date;
}

/** At most this much of what a method threw is kept, in characters. */
const MAX_ERROR_LENGTH = 1_000;

/**
 * The row's id, made from what it accounts for. Of the claims of one attempt, and of its outcomes, only one can be in
 * the table: another value under the same id is a CONFLICT.
 */
export function rowIdOf({ event, through, attempt, token }: LedgerRow): string {
  const time = new Date(through).toISOString();
  if (event === 'claimed') return `${time} ${attempt} claim`;
  if (event === 'missed' || event === 'skipped') return `${time} passed over`;
  // A timetable may change there and back within one time.
  if (event === 'scheduled') return `${time} scheduled ${token}`;
  return `${time} ${attempt} outcome`;
}

/** The same row gives the same text, so that a write can be repeated. */
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
    // Told below.
  }
  throw new HedgeError(
    'CONFLICT',
    `The row "${id}" of the ledger "${key}" cannot be read: another program, or a newer version of this library, wrote it. The job does not run until it is gone.`,
    { details: { key, id } },
  );
}

export function toJobEntry(entry: LogEntry): JobEntry {
  const { fireTime, through, token, ...row } = decodeRow(entry);
  return withTokenInJson({
    ...row,
    fireTime: new Date(fireTime),
    lastFireTime: new Date(through),
    fencingToken: token,
    recordedAt: new Date(Number(entry.timestamp / 1_000_000n)),
  });
}

/** What every database can hold: see `assertText`. */
function cleaned(error: string): string {
  return error
    .slice(0, MAX_ERROR_LENGTH)
    .replaceAll('\0', '')
    .replace(/\p{Surrogate}/gu, '\ufffd');
}
