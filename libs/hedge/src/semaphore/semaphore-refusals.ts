import { HedgeError } from '../common/errors.js';

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
