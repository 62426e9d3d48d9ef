import { Catch, HttpException } from '@nestjs/common';
import type { ExceptionFilter } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeError } from '../common/errors.js';

/**
 * Lets what no other filter caught pass unchanged, instead of Nest's "Internal server error": the caller
 * then reads what happened. The module applies it to all handlers.
 */
@Catch()
export class HedgeExceptionFilter implements ExceptionFilter {
  catch(exception: unknown): Observable<never> {
    return throwError(() => exception);
  }
}

/**
 * The caller's view of what a handler threw. Always HANDLER_FAILED, whatever the handler threw, so that the
 * other codes keep meaning what this library says with them (a NOT_LEADER that a handler got from a call of
 * its own must not make the caller try again). The message travels, the stack does not.
 *
 * `details` holds, by what was thrown:
 * - HttpException, which is also what ValidationPipe throws: `{ status, response }`
 * - RpcException, or a plain object from a filter: `{ error }`
 * - HedgeError: `{ error: { code, message, retryable, details } }`
 */
export function handlerFailure(thrown: unknown): HedgeError {
  if (thrown instanceof HttpException) {
    return failed(thrown.message, { status: thrown.getStatus(), response: thrown.getResponse() }, thrown);
  }
  if (thrown instanceof RpcException) return failed(thrown.message, { error: thrown.getError() }, thrown);
  if (thrown instanceof HedgeError) return failed(thrown.message, { error: thrown.toJSON() }, thrown);
  if (thrown instanceof Error) return failed(thrown.message, {}, thrown);
  return failed(messageOf(thrown), { error: thrown }, thrown);
}

/** True when the handler answered on purpose; false for a fault that its own pod should log. */
export function isDeliberate(thrown: unknown): boolean {
  return thrown instanceof HttpException || thrown instanceof RpcException || !(thrown instanceof Error);
}

function failed(message: string, details: Record<string, unknown>, cause: unknown): HedgeError {
  return new HedgeError('HANDLER_FAILED', message, { details, cause });
}

function messageOf(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown;
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown && typeof thrown.message === 'string') {
    return thrown.message;
  }
  return 'The handler failed.';
}
