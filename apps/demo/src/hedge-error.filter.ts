import { type ArgumentsHost, Catch, type ExceptionFilter, HttpStatus } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { HedgeError, type HedgeErrorCode } from 'nestjs-hedge';

const STATUS: Partial<Record<HedgeErrorCode, HttpStatus>> = {
  INVALID_ARGUMENT: HttpStatus.BAD_REQUEST,
  CONFLICT: HttpStatus.CONFLICT,
  PAYLOAD_TOO_LARGE: HttpStatus.PAYLOAD_TOO_LARGE,
  DEADLINE_EXCEEDED: HttpStatus.GATEWAY_TIMEOUT,
};

/** Returns a HedgeError as a JSON response. Status 503 means that the client may try again. */
@Catch(HedgeError)
export class HedgeErrorFilter implements ExceptionFilter<HedgeError> {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: HedgeError, host: ArgumentsHost): void {
    const otherwise = error.retryable ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.INTERNAL_SERVER_ERROR;
    const response: unknown = host.switchToHttp().getResponse();
    this.host.httpAdapter.reply(response, error.toJSON(), STATUS[error.code] ?? otherwise);
  }
}
