/**
 * The kind of an error, for code. The message is for people.
 *
 * | code | meaning | retryable |
 * |---|---|---|
 * | NO_LEADER | the group has no leader now | yes |
 * | NOT_STARTED | this pod has not started yet, so nothing was done | yes |
 * | NOT_LEADER | this pod does not lead, and the work was not started | yes |
 * | DEADLINE_EXCEEDED | the time allowed ran out; the work may have happened | no |
 * | OUTCOME_UNKNOWN | the work was handed over and its result was lost | no |
 * | NO_HANDLER | no method is decorated for that topic on the pod that was asked | no |
 * | HANDLER_FAILED | the handler threw or rejected; see `details` | no |
 * | MEMBER_UNREACHABLE | no link to that pod could be opened | yes |
 * | OVERLOADED | a bounded queue or table is full; nothing was started | yes |
 * | PAYLOAD_TOO_LARGE | the message is larger than the limit | no |
 * | BACKEND_UNAVAILABLE | the database did not answer or refused for now | yes |
 * | LEASE_LOST | the lease or fencing token is no longer the caller's | no |
 * | CONFLICT | the condition of a put does not hold; the row id exists with another value; the semaphore has another limit; a spill store of that name exists | no |
 * | COMPACTED | retention has deleted versions that a watch had not read; `details.from` is where it can begin | no |
 * | INVALID_OPTIONS | a setting is wrong; the pod does not start | no |
 * | INVALID_ARGUMENT | an argument is wrong; nothing was done | no |
 * | UNAUTHENTICATED | the peer belongs to another group, or does not have its secret | no |
 * | CANCELLED | the other end of a stream cancelled it; the message says why | no |
 * | SHUTTING_DOWN | this pod is stopping and accepts no new work | yes |
 * | SPILL_FULL | no pod has room for more; written records stay readable | no |
 * | SPILL_LOST | a part of a spill store was lost with the pod that held it | no |
 * | SPILL_CORRUPT | a part of a spill store differs from the written data | no |
 * | SPILL_UNKNOWN | there is no such spill store, or it was dropped or expired | no |
 */
export type HedgeErrorCode =
  | 'NO_LEADER'
  | 'NOT_STARTED'
  | 'NOT_LEADER'
  | 'DEADLINE_EXCEEDED'
  | 'OUTCOME_UNKNOWN'
  | 'NO_HANDLER'
  | 'HANDLER_FAILED'
  | 'MEMBER_UNREACHABLE'
  | 'OVERLOADED'
  | 'PAYLOAD_TOO_LARGE'
  | 'BACKEND_UNAVAILABLE'
  | 'LEASE_LOST'
  | 'CONFLICT'
  | 'COMPACTED'
  | 'INVALID_OPTIONS'
  | 'INVALID_ARGUMENT'
  | 'UNAUTHENTICATED'
  | 'CANCELLED'
  | 'SHUTTING_DOWN'
  | 'SPILL_FULL'
  | 'SPILL_LOST'
  | 'SPILL_CORRUPT'
  | 'SPILL_UNKNOWN';

/** Every code, and whether it is retryable unless the error says otherwise. */
const RETRYABLE: Readonly<Record<HedgeErrorCode, boolean>> = {
  NO_LEADER: true,
  NOT_STARTED: true,
  NOT_LEADER: true,
  DEADLINE_EXCEEDED: false,
  OUTCOME_UNKNOWN: false,
  NO_HANDLER: false,
  HANDLER_FAILED: false,
  MEMBER_UNREACHABLE: true,
  OVERLOADED: true,
  PAYLOAD_TOO_LARGE: false,
  BACKEND_UNAVAILABLE: true,
  LEASE_LOST: false,
  CONFLICT: false,
  COMPACTED: false,
  INVALID_OPTIONS: false,
  INVALID_ARGUMENT: false,
  UNAUTHENTICATED: false,
  CANCELLED: false,
  SHUTTING_DOWN: true,
  SPILL_FULL: false,
  SPILL_LOST: false,
  SPILL_CORRUPT: false,
  SPILL_UNKNOWN: false,
};

/**
 * The message of any thrown value. Never throws, and always returns a string, even if the message of the error is none.
 * Node reports a host with several addresses by an AggregateError without a message: then, the messages of its errors.
 */
export function messageOf(thrown: unknown): string {
  try {
    if (thrown instanceof AggregateError && thrown.message === '') return thrown.errors.map(messageOf).join(', ');
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return 'a value that cannot be shown was thrown';
  }
}

/** The code of an error, for metrics. An error of the app has none, and counts as HANDLER_FAILED. */
export function codeOf(thrown: unknown): HedgeErrorCode {
  return thrown instanceof HedgeError ? thrown.code : 'HANDLER_FAILED';
}

/** Whether this version knows the code. A peer of another version may send unknown codes. */
export function isHedgeErrorCode(code: string): code is HedgeErrorCode {
  return Object.hasOwn(RETRYABLE, code);
}

export interface HedgeErrorInit {
  /** Facts for code and logs. Must have a JSON form. */
  details?: Record<string, unknown>;
  cause?: unknown;
  /** Whether the same call may be made again. Default: see the table of codes. */
  retryable?: boolean;
}

/**
 * The one error class of this library.
 *
 * `retryable` is true when the same call may be made again without the risk of doing the work twice.
 *
 * @example
 * try { await leader.send('price', order); }
 * catch (error) { if (error instanceof HedgeError && error.retryable) return retryLater(); throw error; }
 */
export class HedgeError extends Error {
  override readonly name = 'HedgeError';
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    readonly code: HedgeErrorCode,
    message: string,
    init: HedgeErrorInit = {},
  ) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.retryable = init.retryable ?? RETRYABLE[code];
    this.details = init.details ?? {};
  }

  /** For an HTTP response or a log line: everything but the cause and the stack. */
  toJSON(): { name: string; code: HedgeErrorCode; message: string; retryable: boolean; details: object } {
    return {
      name: this.name,
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      details: this.details,
    };
  }
}

/** Returns a HedgeError unchanged, and wraps any other thrown value as the cause of a HedgeError with this code. */
export function asHedgeError(thrown: unknown, code: HedgeErrorCode): HedgeError {
  return thrown instanceof HedgeError ? thrown : new HedgeError(code, messageOf(thrown), { cause: thrown });
}

/**
 * Replaces the stack of an error from a reply by the stack of its caller. Call it in the `async` function that the
 * caller awaits, so that the stack has a line of the caller. Other errors stay unchanged.
 * @param signal of the caller. Its reason belongs to the caller and stays unchanged, too.
 */
export function atCaller<Thrown>(thrown: Thrown, signal?: AbortSignal): Thrown {
  if (thrown instanceof HedgeError && thrown !== signal?.reason) Error.captureStackTrace(thrown, atCaller);
  return thrown;
}

/**
 * As `atCaller`, for calls that the caller may never await: captures the present stack, without `called` and the
 * functions below it, for an error that occurs later.
 */
export function captureStack(called: (...args: never[]) => unknown): { applyTo(error: HedgeError): void } {
  const captured: { stack?: string } = {};
  Error.captureStackTrace(captured, called);
  return {
    applyTo(error) {
      const [, ...frames] = captured.stack?.split('\n') ?? [];
      error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n');
    },
  };
}
