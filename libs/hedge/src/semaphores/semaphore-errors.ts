import { HedgeError } from '../common/errors.js';
import type { PermitLoss } from './client/held-permits.core.js';

// At the leader

/** The group has agreed on another limit. The error names both. */
export function otherLimit(name: string, limit: number, agreed: number): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Semaphore "${name}" has limit ${agreed}, but limit ${limit} was requested. Use limit ${agreed} on all pods, or call resize(${limit}).`,
    { details: { limit, agreed } },
  );
}

export function foreign(name: string, id: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Permit ${id} of semaphore "${name}" belongs to another member. Use only permits that this pod acquired.`,
  );
}

export function notWanted(name: string): HedgeError {
  return new HedgeError('DEADLINE_EXCEEDED', `The caller no longer waits for semaphore "${name}"`);
}

/** A write was fenced, because another pod has acquired the lease. */
export function notLeader(name: string, cause: HedgeError): HedgeError {
  return new HedgeError('NOT_LEADER', `Another pod is the leader and grants semaphore "${name}" now`, { cause });
}

/** Groups that share tables must not share a semaphore: the leader of one would revoke the permits of the other. */
export function otherGroup(name: string, group: string, owner: string): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Semaphore "${name}" cannot be used by group ${group}: its row belongs to group ${owner}, which uses the same tables. Use another name.`,
    { details: { group, owner } },
  );
}

// At the client

interface AcquireFacts {
  readonly name: string;
  readonly permits: number;
  readonly limit: number;
  readonly timeoutMs: number;
}

export function notInTime({ name, permits, limit, timeoutMs }: AcquireFacts): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `${permits} of ${limit} permits of semaphore "${name}" were not acquired within ${timeoutMs} ms. Raise timeoutMs, or list the holders with holders().`,
    { details: { permits, limit }, retryable: true },
  );
}

export function stopping(name: string): HedgeError {
  return new HedgeError(
    'SHUTTING_DOWN',
    `Semaphore "${name}" was not acquired: this pod is stopping. Use another pod.`,
  );
}

/** @param most the number of permits that one process may hold and wait for. */
export function tooManyHere(name: string, most: number): HedgeError {
  return new HedgeError(
    'OVERLOADED',
    `Semaphore "${name}" was not acquired: this pod already holds or waits for ${most} permits. Acquire fewer at a time.`,
  );
}

/** The reason with which the signal of a lost permit aborts. */
export function permitLost(name: string, why: PermitLoss): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    why === 'expired'
      ? `The permit of semaphore "${name}" expired: this pod stalled, or did not reach the leader. Stop its work; another pod may acquire the permit.`
      : `The leader revoked the permit of semaphore "${name}", because it was not renewed in time. Stop its work.`,
  );
}
