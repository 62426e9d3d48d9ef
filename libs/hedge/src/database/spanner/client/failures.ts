import { BinaryReader } from '@bufbuild/protobuf/wire';
import { backoffMs } from '../../../common/backoff.js';
import { HedgeError, messageOf } from '../../../common/errors.js';
import { Closed, TooLate } from './rpc.js';

/** The operations of this driver, as named in errors. */
export type OperationName =
  | 'open'
  | `lease.${'read' | 'list' | 'acquire' | 'renew' | 'renewAll' | 'release'}`
  | `log.${'append' | 'appendIf' | 'overwrite' | 'latest' | 'history' | 'trim' | 'trimmable' | 'keys' | 'changes' | 'lastTimestamp'}`
  | `permits.${'read' | 'write'}`;

/** Operations that a database may reject permanently because of the rows to write. */
const WRITES_ROWS = new Set<OperationName>(['log.append', 'log.appendIf', 'log.overwrite', 'permits.write']);

/** https://grpc.io/docs/guides/status-codes/ */
const Code = {
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

/** The metadata key with the time that Spanner asks to wait before a retry. */
const RETRY_INFO = 'google.rpc.retryinfo-bin';

/** After these errors the commit has not happened. After any other it may have. */
const SURELY_NOT_COMMITTED = new Set<number>([
  Code.INVALID_ARGUMENT,
  Code.NOT_FOUND,
  Code.ALREADY_EXISTS,
  Code.PERMISSION_DENIED,
  Code.FAILED_PRECONDITION,
  Code.ABORTED,
  Code.OUT_OF_RANGE,
  Code.UNIMPLEMENTED,
  Code.UNAUTHENTICATED,
]);

export function surelyNotCommitted(error: unknown): boolean {
  if (error instanceof Closed || error instanceof TooLate) return true;
  const code = codeOf(error);
  return SURELY_NOT_COMMITTED.has(code) || (code === Code.RESOURCE_EXHAUSTED && isTooLarge(messageOf(error)));
}

/** The error message of a server that was restarted, or has dropped a session. */
const LOST = /(Session|Transaction) not found/;

export function isSessionLost(error: unknown): boolean {
  return codeOf(error) === Code.NOT_FOUND && messageOf(error).includes('Session not found');
}

/** Spanner has already rolled the transaction back. */
export function hasEndedTransaction(error: unknown): boolean {
  return codeOf(error) === Code.ABORTED || (codeOf(error) === Code.NOT_FOUND && LOST.test(messageOf(error)));
}

/** Spanner rejected the query itself. For a query with an index hint, the index was dropped. */
export function isQueryRefused(error: unknown): boolean {
  return codeOf(error) === Code.INVALID_ARGUMENT || codeOf(error) === Code.NOT_FOUND;
}

/**
 * The pause before a retry of the whole transaction or read, in milliseconds; undefined when a retry would not help.
 * @param random in [0, 1)
 */
export function retryDelayMs(error: unknown, attempt: number, random: number): number | undefined {
  const message = messageOf(error);
  switch (codeOf(error)) {
    // A row that did not exist at the transaction's read; the next attempt reads it.
    case Code.ALREADY_EXISTS:
    case Code.ABORTED:
      return serverDelayMs(error) ?? backoffMs(attempt, 4, 250, random);
    case Code.UNAVAILABLE:
      return backoffMs(attempt, 20, 500, random);
    case Code.RESOURCE_EXHAUSTED:
      return isTooLarge(message) ? undefined : backoffMs(attempt, 50, 1_000, random);
    case Code.INTERNAL:
      // The client reports a broken connection in this way.
      return /RST_STREAM|EOS on DATA|INTERNAL_ERROR|Connection closed/.test(message)
        ? backoffMs(attempt, 20, 500, random)
        : undefined;
    case Code.NOT_FOUND:
      return LOST.test(message) ? backoffMs(attempt, 2, 100, random) : undefined;
    default:
      return undefined;
  }
}

/**
 * Converts a failure to the error of the contracts in `database/`.
 * @param inDoubt whether the commit may have happened.
 */
export function toHedgeError(
  database: string,
  operation: OperationName,
  failure: unknown,
  inDoubt: boolean,
): HedgeError {
  if (failure instanceof HedgeError) return failure;
  const code = codeOf(failure);
  const message = messageOf(failure).replace(/\.$/, '');
  const init = { details: { database, status: code }, cause: failure };
  const advice = operation === 'open' ? adviceForGood(code, message) : undefined;
  if (advice !== undefined) {
    return new HedgeError('INVALID_OPTIONS', `spanner ${database} cannot be used: ${message}. ${advice}`, init);
  }
  if (operation === 'log.overwrite' && inDoubt) {
    return new HedgeError(
      'OUTCOME_UNKNOWN',
      `The outcome of ${operation} on spanner ${database} is unknown: ${message}. Read the key before you write it again.`,
      init,
    );
  }
  if (WRITES_ROWS.has(operation) && !inDoubt && isRefusedForGood(code, message)) {
    return new HedgeError(
      'INVALID_ARGUMENT',
      `${operation} on spanner ${database} was rejected: ${message}. Nothing was written. Write fewer rows at once, or smaller values.`,
      init,
    );
  }
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `${operation} on spanner ${database} failed: ${message}. ${adviceForNow(failure)}`,
    { ...init, ...(failure instanceof Closed && { retryable: false }) },
  );
}

function isRefusedForGood(code: number, message: string): boolean {
  return (
    code === Code.INVALID_ARGUMENT ||
    code === Code.OUT_OF_RANGE ||
    code === Code.FAILED_PRECONDITION ||
    (code === Code.RESOURCE_EXHAUSTED && isTooLarge(message))
  );
}

function isTooLarge(message: string): boolean {
  return /larger than max/i.test(message);
}

const NAME_ADVICE =
  'Check the name, projects/PROJECT/instances/INSTANCE/databases/DATABASE: the database must exist, with GoogleSQL as its dialect.';

/** The fix for a permanent failure; undefined when a retry may help. */
function adviceForGood(code: number, message: string): string | undefined {
  if (/default credentials|invalid_grant/i.test(message)) {
    return 'Give the process Application Default Credentials: on GKE by Workload Identity, on your machine by gcloud auth application-default login. Or name an emulator in SPANNER_EMULATOR_HOST.';
  }
  switch (code) {
    case Code.NOT_FOUND:
      return LOST.test(message) ? undefined : NAME_ADVICE;
    case Code.INVALID_ARGUMENT:
      return NAME_ADVICE;
    case Code.PERMISSION_DENIED:
    case Code.UNAUTHENTICATED:
      return 'Grant the service account roles/spanner.databaseUser on the database.';
    default:
      return undefined;
  }
}

function adviceForNow(failure: unknown): string {
  if (failure instanceof Closed) return 'The application is stopping.';
  switch (codeOf(failure)) {
    case Code.PERMISSION_DENIED:
    case Code.UNAUTHENTICATED:
      return 'Grant the service account roles/spanner.databaseUser on the database. The driver then recovers without a restart.';
    case Code.ABORTED:
      return 'Other transactions changed the same rows in each attempt. Try again.';
    default:
      return 'Try again. If it persists, check the database and the network.';
  }
}

/** The back-off that the server requests in a google.rpc.RetryInfo: field 1 is a Duration of seconds (1) and nanos (2). */
function serverDelayMs(error: unknown): number | undefined {
  const { metadata } = error as { metadata?: { get(key: string): readonly unknown[] } };
  const info = metadata?.get(RETRY_INFO)[0];
  if (!(info instanceof Uint8Array)) return undefined;
  const outer = new BinaryReader(info);
  if (outer.len === 0 || outer.tag()[0] !== 1) return undefined;
  const duration = new BinaryReader(outer.bytes());
  let delayMs = 0;
  while (duration.pos < duration.len) {
    const [field] = duration.tag();
    delayMs += Number(duration.int64()) * (field === 1 ? 1_000 : 1e-6);
  }
  return delayMs;
}

/** The gRPC status; -1 for an error of another kind. */
function codeOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  return typeof code === 'number' ? code : -1;
}
