import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { nameOfTopic } from '../topics.js';
import type { Timed } from '../server/deadlines.js';
import type { OutgoingRequest } from '../message.js';

/** One request of this process on its way; its mutable fields are the router's. */
export class ClientCall implements Timed {
  place = 0;
  /** Whom it is assigned to now; undefined while it waits for a leader. */
  receiver: MemberId | undefined;
  /** The term of that assignment; 0n to a member. */
  epoch = 0n;
  /** Names it to that receiver, for this assignment; 0 before it is handed over. Never used twice. */
  sequence = 0;
  /** Assignments that were handed over. */
  attempt = 0;
  /** How often it was written to a link under this assignment. */
  transmissions = 0;
  /** It was handed over under an earlier term, which ended without an answer. */
  mayHaveRunBefore = false;
  /** Leaders that were lost while it may have run there. */
  lostLeaders = 0;
  knewLeader = false;

  constructor(
    /** UUID, the same over all attempts. */
    readonly id: string,
    readonly request: OutgoingRequest,
    /** On the timeline of the router's inputs. */
    readonly deadline: number,
  ) {}

  get mayHaveRun(): boolean {
    return this.mayHaveRunBefore || this.transmissions > 0;
  }

  get #details(): Record<string, unknown> {
    return { requestId: this.id, attempts: this.attempt, started: this.mayHaveRun };
  }

  /** As errors and log lines call it. */
  get what(): string {
    const { to, topic, name = nameOfTopic(topic) } = this.request;
    return `Request ${name} to ${to === 'leader' ? 'the leader' : to.address}`;
  }

  get #mayHaveRun(): string {
    const { maxReruns } = this.request;
    if (this.lostLeaders < 2 || this.lostLeaders <= (maxReruns ?? Infinity)) return 'it may have run';
    return `${this.lostLeaders} leaders in a row were lost while it may have run, so it is not run again (maxReruns: ${maxReruns}). It may be what ends them`;
  }

  get #allowed(): string {
    return `within ${this.request.timeoutMs} ms`;
  }

  noLeader(): HedgeError {
    return new HedgeError(
      'NO_LEADER',
      `${this.what}: the group had no leader ${this.#allowed}, so it was not started. ` +
        'Check that members are running and that the database answers, or raise timeoutMs.',
      { details: this.#details },
    );
  }

  /** @param cause why no link could be made; UNAUTHENTICATED stays that. */
  unreachable(member: MemberId, cause: HedgeError | undefined): HedgeError {
    if (cause?.code === 'UNAUTHENTICATED') return cause;
    return new HedgeError(
      'MEMBER_UNREACHABLE',
      `${this.what}: no link to ${member.address} could be made, so it was not started${cause ? ` (${cause.message})` : ` ${this.#allowed}`}. ` +
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
      `${this.what}: no answer ${this.#allowed}. ` +
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
      `${this.what}: it was handed over, and then ${why}; ${this.#mayHaveRun}. ${ifUnknown}.`,
      { details: this.#details },
    );
  }
}
