import { HedgeError } from '../common/errors.js';
import { bytesPayload, type Encoded } from '../messaging/message.js';
import type { RequestType } from '../messaging/request-type.js';
import { JobRequest, JobStatuses } from '../wire/hedge/v1/job.js';
import { RequestKind } from '../wire/hedge/v1/link.js';

/** A request about jobs. The leader serves it, because it alone runs jobs and writes their ledgers. */
export const JOB_REQUEST: RequestType = {
  kind: RequestKind.REQUEST_KIND_JOB,
  name: 'job',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: 'jobs',
  mayUseReserve: false,
};

export type JobAction = NonNullable<JobRequest['action']>;

/** In characters. */
export const MAX_BY = 200;
export const MAX_REASON = 1_000;

export function encodeJobRequest(action: JobAction): Encoded {
  return bytesPayload(JobRequest.encode({ action }).finish());
}

/** @throws HedgeError INVALID_ARGUMENT for a request of a later version. */
export function decodeJobRequest({ bytes }: Encoded): JobAction {
  let cause: unknown;
  try {
    const { action } = JobRequest.decode(bytes);
    if (action !== undefined) return action;
  } catch (error) {
    cause = error;
  }
  throw new HedgeError(
    'INVALID_ARGUMENT',
    'A request about jobs was refused: the leader cannot decode it. Run the same version of nestjs-hedge on all pods.',
    { cause },
  );
}

export function encodeStatuses(statuses: JobStatuses): Encoded {
  return bytesPayload(JobStatuses.encode(statuses).finish());
}

export function decodeStatuses({ bytes }: Encoded): JobStatuses {
  return JobStatuses.decode(bytes);
}

/**
 * Checks who asks for a change or a run, and why: at the caller, and again at the leader, which stores it.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkOrigin(by: unknown, reason: unknown): void {
  if (by !== undefined) checkText('by', by, 1, MAX_BY);
  if (reason !== undefined) checkText('reason', reason, 0, MAX_REASON);
}

function checkText(option: string, value: unknown, min: number, max: number): void {
  if (typeof value === 'string' && value.length >= min && value.length <= max) return;
  const got = typeof value === 'string' ? `a text of ${value.length} characters` : `a value of type ${typeof value}`;
  throw new HedgeError('INVALID_ARGUMENT', `"${option}" is ${got}. Give a text of ${min} to ${max} characters.`);
}
