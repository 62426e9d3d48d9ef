import { HedgeError } from '../common/errors.js';

// At the leader

/** The limit is agreed: both numbers are named. */
export function otherLimit(name: string, limit: number, agreed: number): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Semaphore "${name}" was asked for with limit ${limit}, and the group has agreed on ${agreed}. Use the same limit on all pods, or call resize.`,
    { details: { limit, agreed } },
  );
}

export function foreign(name: string, id: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Permit ${id} of semaphore "${name}" is another member's, and stays with it. Release only what this pod acquired.`,
  );
}

export function notWanted(name: string): HedgeError {
  return new HedgeError('DEADLINE_EXCEEDED', `Its caller does not wait for semaphore "${name}" any more`);
}

/** A write was refused, because the lease was taken since. */
export function notLeader(name: string, cause: HedgeError): HedgeError {
  return new HedgeError('NOT_LEADER', `Another pod leads, and grants semaphore "${name}" now`, { cause });
}

/** Groups that share tables must not share a semaphore: the leader of one would take the other's permits back. */
export function otherGroup(name: string, group: string, owner: string): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `Semaphore "${name}" was asked for by group ${group}, and its row belongs to group ${owner}, which uses the same tables. Use another name.`,
    { details: { group, owner } },
  );
}

// At the pod that asks

interface Asked {
  readonly name: string;
  readonly permits: number;
  readonly limit: number;
  readonly timeoutMs: number;
}

export function notInTime({ name, permits, limit, timeoutMs }: Asked): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Semaphore "${name}" (limit ${limit}): ${permits} could not be acquired within ${timeoutMs} ms. Nothing is held; allow more time, or see who holds it with holders().`,
    { details: { permits, limit }, retryable: true },
  );
}

export function stopping(name: string): HedgeError {
  return new HedgeError('SHUTTING_DOWN', `This pod is stopping, so semaphore "${name}" was not acquired`);
}

/** @param most that one process may hold and wait for. */
export function tooManyHere(name: string, most: number): HedgeError {
  return new HedgeError(
    'OVERLOADED',
    `Semaphore "${name}" was not asked: this pod already holds or waits for ${most} permits. Acquire fewer at a time.`,
  );
}

/** What the signal of a lost permit aborts with. */
export function permitLost(name: string, why: 'expired' | 'taken back'): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    why === 'expired'
      ? `The permit of semaphore "${name}" could not be renewed in time: this pod stood still, or did not reach the leader. Stop the work; another may get it.`
      : `The leader took the permit of semaphore "${name}" back, because it was not renewed in time. Stop the work.`,
  );
}
