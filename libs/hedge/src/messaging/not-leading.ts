import { HedgeError } from '../common/errors.js';

/** What a member answers to leader work that it has not started: whoever leads may take it. */
export function notLeading(): HedgeError {
  return new HedgeError('NOT_LEADER', 'This pod does not lead, or is handing leadership over');
}
