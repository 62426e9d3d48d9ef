import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { ClientCall } from './client-call.js';
import { SequenceMap } from './sequence-map.js';

/** A receiver as its caller sees it: the link to it, and the calls that are assigned to it. */
export class Peer<C extends ClientCall> {
  /** Handed over, by sequence, and neither answered nor given up. */
  readonly sent = new SequenceMap<C>();
  /** To be written when the link is up; of the handed over ones, those to be written again. */
  readonly queued = new Set<C>();
  dialFailures = 0;
  /** No new attempt to make a link before this. */
  dialAt = -Infinity;
  /** Why the last attempt failed. */
  error: HedgeError | undefined;

  constructor(
    readonly member: MemberId,
    public link: 'down' | 'dialling' | 'up',
  ) {}

  get hasCalls(): boolean {
    return this.sent.size > 0 || this.queued.size > 0;
  }

  /** As of now: may be changed while one goes through them. */
  calls(): C[] {
    return [...new Set([...this.sent.values(), ...this.queued])];
  }
}
