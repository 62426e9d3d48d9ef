import { type ArgumentsHost, Catch, HttpException, HttpStatus } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { LineLogger } from '../common/line-logger.js';
import { nestLogger } from './logger.js';
import { HedgeError, type HedgeErrorCode } from '../common/errors.js';

/** Some supported versions of Nest lack it in HttpStatus. */
const INSUFFICIENT_STORAGE = 507;

const STATUS: Readonly<Record<HedgeErrorCode, number>> = {
  NO_LEADER: HttpStatus.SERVICE_UNAVAILABLE,
  NOT_STARTED: HttpStatus.SERVICE_UNAVAILABLE,
  NOT_LEADER: HttpStatus.SERVICE_UNAVAILABLE,
  DEADLINE_EXCEEDED: HttpStatus.GATEWAY_TIMEOUT,
  OUTCOME_UNKNOWN: HttpStatus.BAD_GATEWAY,
  NO_HANDLER: HttpStatus.NOT_IMPLEMENTED,
  HANDLER_FAILED: HttpStatus.INTERNAL_SERVER_ERROR,
  MEMBER_UNREACHABLE: HttpStatus.SERVICE_UNAVAILABLE,
  OVERLOADED: HttpStatus.SERVICE_UNAVAILABLE,
  PAYLOAD_TOO_LARGE: HttpStatus.PAYLOAD_TOO_LARGE,
  BACKEND_UNAVAILABLE: HttpStatus.SERVICE_UNAVAILABLE,
  LEASE_LOST: HttpStatus.CONFLICT,
  CONFLICT: HttpStatus.CONFLICT,
  COMPACTED: HttpStatus.GONE,
  INVALID_OPTIONS: HttpStatus.INTERNAL_SERVER_ERROR,
  INVALID_ARGUMENT: HttpStatus.BAD_REQUEST,
  UNAUTHENTICATED: HttpStatus.INTERNAL_SERVER_ERROR,
  CANCELLED: HttpStatus.INTERNAL_SERVER_ERROR,
  SHUTTING_DOWN: HttpStatus.SERVICE_UNAVAILABLE,
  SPILL_FULL: INSUFFICIENT_STORAGE,
  SPILL_LOST: HttpStatus.INTERNAL_SERVER_ERROR,
  SPILL_CORRUPT: HttpStatus.INTERNAL_SERVER_ERROR,
  SPILL_UNKNOWN: HttpStatus.NOT_FOUND,
};

/** Seconds. A change of leader takes less after a stop, and about one lease after a crash. */
const RETRY_AFTER = '1';

/**
 * The response to an HTTP request that failed with a HedgeError: the status by the code, and the body
 * `{ statusCode, error, message, retryable, requestId? }`, where `error` is the code. For statuses of 500 and above, a
 * general text replaces the message, because it names pods and settings. An HttpException that a message handler threw on
 * another pod becomes the same HttpException again.
 *
 * For exception filters of an app. `HedgeHttpFilter` does this for apps that have none.
 */
export function toHttpException(error: HedgeError): HttpException {
  const { status, response, requestId } = error.details;
  if (error.code === 'HANDLER_FAILED' && typeof status === 'number' && isResponse(response)) {
    return new HttpException(response, status, { cause: error });
  }
  const statusCode = (STATUS[error.code] as number | undefined) ?? HttpStatus.INTERNAL_SERVER_ERROR;
  const body = {
    statusCode,
    error: error.code,
    message: statusCode < 500 ? error.message : (GENERAL[statusCode] ?? 'Internal server error'),
    retryable: error.retryable,
    ...(typeof requestId === 'string' && { requestId }),
  };
  return new HttpException(body, statusCode, { cause: error });
}

const GENERAL: Readonly<Record<number, string>> = {
  501: 'Not implemented',
  502: 'The outcome is unknown',
  503: 'Temporarily unavailable, try again',
  504: 'The time allowed ran out',
  507: 'Insufficient storage',
};

/**
 * Answers HTTP requests whose handlers threw a HedgeError with `toHttpException`, and sets `Retry-After` with status 503.
 * It logs errors of the statuses 500 to 502. It works with Express and Fastify, beside filters of the app: Nest asks the
 * filter that was registered last first, so register this one after a filter that catches everything. Errors of other
 * kinds of requests pass unchanged.
 *
 * @example
 * providers: [{ provide: APP_FILTER, useClass: HedgeHttpFilter }]
 */
@Catch(HedgeError)
export class HedgeHttpFilter extends BaseExceptionFilter<HedgeError> {
  readonly #logger = new LineLogger('Hedge', nestLogger('Hedge'));

  override catch(error: HedgeError, host: ArgumentsHost): unknown {
    switch (host.getType<string>()) {
      case 'http':
        return this.#answer(error, host);
      case 'rpc':
        return throwError(() => error);
      default:
        // GraphQL accepts an HttpException.
        return toHttpException(error);
    }
  }

  #answer(error: HedgeError, host: ArgumentsHost): void {
    const exception = toHttpException(error);
    const status = exception.getStatus();
    if (status >= 500 && status < 503) {
      this.#logger.error(`${error.code}: ${error.message}`, error.stack, { event: 'http.failed', code: error.code });
    }
    const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter;
    if (adapter === undefined) throw exception;
    const response: unknown = host.getArgByIndex(1);
    if (adapter.isHeadersSent(response)) return adapter.end(response);
    if (status === (HttpStatus.SERVICE_UNAVAILABLE as number)) adapter.setHeader(response, 'Retry-After', RETRY_AFTER);
    const body = exception.getResponse();
    adapter.reply(response, typeof body === 'string' ? { statusCode: status, message: body } : body, status);
  }
}

function isResponse(response: unknown): response is string | Record<string, unknown> {
  return typeof response === 'string' || (typeof response === 'object' && response !== null);
}
