import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { ClientCall } from './client-call.js';
import { SequenceMap } from './sequence-map.js';

/** The state that a caller keeps for one receiver: the link to it, and the calls that are assigned to it. */
export class Peer<C extends ClientCall> {
  /** The transmitted calls without a reply that the caller has not abandoned, by sequence. */
  readonly sent = new SequenceMap<C>();
  /** The calls to write when the link is up. They include transmitted calls that must be written again. */
  readonly queued = new Set<C>();
  dialFailures = 0;
  /** The earliest time of the next dial. */
  dialAt = -Infinity;
  /** The error of the last dial. */
  error: HedgeError | undefined;

  constructor(
    readonly member: MemberId,
    public link: 'down' | 'dialling' | 'up',
  ) {}

  get hasCalls(): boolean {
    return this.sent.size > 0 || this.queued.size > 0;
  }

  /** A copy, so that calls can be removed while the caller iterates. */
  calls(): C[] {
    return [...new Set([...this.sent.values(), ...this.queued])];
  }
}
