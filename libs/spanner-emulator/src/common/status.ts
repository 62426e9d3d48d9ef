/** The gRPC status codes of Cloud Spanner. */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

export type CodeName = keyof typeof Code;
export type CodeNumber = (typeof Code)[CodeName];

/** The details of an error that Spanner's clients read: the time to retry, and the missing resource. */
export type ErrorDetail =
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'resource'; readonly type: string; readonly name: string; readonly description: string };

/** An error that becomes a gRPC status. Any other thrown error is a bug and becomes INTERNAL. */
export class SpannerError extends Error {
  override readonly name = 'SpannerError';

  constructor(
    readonly code: CodeNumber,
    message: string,
    readonly detail?: ErrorDetail,
  ) {
    super(message);
  }
}

/**
 * A row that violates a constraint: it exists already, has no value for a NOT NULL column, or is too large. A read-write
 * transaction whose DML fails with it is over: every later request fails with the same error.
 */
export class ConstraintError extends SpannerError {}

export const invalidArgument = (message: string) => new SpannerError(Code.INVALID_ARGUMENT, message);
export const notFound = (message: string) => new SpannerError(Code.NOT_FOUND, message);
export const alreadyExists = (message: string) => new SpannerError(Code.ALREADY_EXISTS, message);
export const failedPrecondition = (message: string) => new SpannerError(Code.FAILED_PRECONDITION, message);
export const outOfRange = (message: string) => new SpannerError(Code.OUT_OF_RANGE, message);

/** An error for features of Spanner that this emulator does not support. It names the construct. */
export const unimplemented = (construct: string) =>
  new SpannerError(Code.UNIMPLEMENTED, `The emulator does not support ${construct}.`);

export const resourceNotFound = (kind: 'Session' | 'Database' | 'Instance', name: string) => {
  const api = { Session: 'v1', Database: 'admin.database.v1', Instance: 'admin.instance.v1' }[kind];
  return new SpannerError(Code.NOT_FOUND, `${kind} not found: ${name}`, {
    kind: 'resource',
    type: `type.googleapis.com/google.spanner.${api}.${kind}`,
    name,
    description: `${kind} does not exist.`,
  });
};
