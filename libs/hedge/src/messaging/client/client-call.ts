import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { nameOfTopic } from '../topics.js';
import type { Timed } from '../server/deadlines.js';
import type { OutgoingRequest } from '../message.js';

/** A pending request of this process. Only the router changes its mutable fields. */
export class ClientCall implements Timed {
  place = 0;
  /** The member to which the call is assigned now; undefined while it waits for a leader. */
  receiver: MemberId | undefined;
  /** The term of that assignment; 0n for a call to a member. */
  epoch = 0n;
  /** Identifies the call to that receiver for this assignment; 0 before it is transmitted. Never used twice. */
  sequence = 0;
  /** The number of assignments under which the call was transmitted. */
  attempt = 0;
  /** How often the call was written to a link under this assignment. */
  transmissions = 0;
  /** The call was transmitted in an earlier term, which ended without a reply. */
  mayHaveRunBefore = false;
  /** The number of lost leaders on which the call may have run. */
  lostLeaders = 0;
  knewLeader = false;

  constructor(
    /** A UUID, the same for all attempts. */
    readonly id: string,
    readonly request: OutgoingRequest,
    /** On the timeline of the inputs of the router. */
    readonly deadline: number,
  ) {}

  get mayHaveRun(): boolean {
    return this.mayHaveRunBefore || this.transmissions > 0;
  }

  get #details(): Record<string, unknown> {
    return { requestId: this.id, attempts: this.attempt, started: this.mayHaveRun };
  }

  /** The name of the call in errors and log lines. */
  get description(): string {
    const { to, topic, name = nameOfTopic(topic) } = this.request;
    return `Request ${name} to ${to === 'leader' ? 'the leader' : to.address}`;
  }

  get #mayHaveRun(): string {
    const { maxReruns } = this.request;
    if (this.lostLeaders < 2 || this.lostLeaders <= (maxReruns ?? Infinity)) return 'it may have run';
    return `${this.lostLeaders} leaders in a row were lost while it may have run, so it does not run again (maxReruns: ${maxReruns}). This request may be the cause`;
  }

  get #allowed(): string {
    return `within ${this.request.timeoutMs} ms`;
  }

  noLeader(): HedgeError {
    return new HedgeError(
      'NO_LEADER',
      `${this.description}: the group had no leader ${this.#allowed}, so it was not started. ` +
        'Check that members are running and that the database answers, or raise timeoutMs.',
      { details: this.#details },
    );
  }

  /** @param cause why the dial failed. UNAUTHENTICATED is returned unchanged. */
  unreachable(member: MemberId, cause: HedgeError | undefined): HedgeError {
    if (cause?.code === 'UNAUTHENTICATED') return cause;
    return new HedgeError(
      'MEMBER_UNREACHABLE',
      `${this.description}: no link to ${member.address} could be opened, so it was not started${cause ? ` (${cause.message})` : ` ${this.#allowed}`}. ` +
        'Check that this pod can reach that address, or try again.',
      { details: this.#details, cause },
    );
  }

  deadlineExceeded(): HedgeError {
    const started = this.mayHaveRun;
    const { ifUnknown = 'It was handed over, so it may have run: make the work idempotent by its request id' } =
      this.request;
    return new HedgeError(
      'DEADLINE_EXCEEDED',
      `${this.description}: no answer ${this.#allowed}. ` +
        (started
          ? `${ifUnknown}, or raise timeoutMs.`
          : 'No leader accepted it, so it was not started: try again, or raise timeoutMs.'),
      { details: this.#details, retryable: !started },
    );
  }

  outcomeUnknown(why: string): HedgeError {
    const { ifUnknown = 'Check its effect before trying again' } = this.request;
    return new HedgeError(
      'OUTCOME_UNKNOWN',
      `${this.description}: it was handed over, and then ${why}; ${this.#mayHaveRun}. ${ifUnknown}.`,
      { details: this.#details },
    );
  }
}
