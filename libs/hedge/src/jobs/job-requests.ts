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
