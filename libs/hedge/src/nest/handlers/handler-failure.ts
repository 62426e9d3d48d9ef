import { Catch, HttpException } from '@nestjs/common';
import type { ExceptionFilter } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeError } from '../../common/errors.js';

/**
 * Passes errors that no other filter caught to the caller unchanged, instead of Nest's "Internal server error". So the
 * caller gets the real message. The module applies this filter to all handlers.
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
 * `details` holds where it failed, `{ requestId, topic, pod }`, and by what was thrown:
 * - HttpException, which is also what ValidationPipe throws: `{ status, response }`
 * - RpcException, or a plain object from a filter: `{ error }`
 * - HedgeError: `{ error: { code, message, retryable, details } }`
 */
export function handlerFailure(thrown: unknown, { requestId, topic, pod }: FailedRequest): HedgeError {
  const { message, ...rest } = failureOf(thrown);
  const details = { requestId, topic, pod, ...rest };
  return new HedgeError('HANDLER_FAILED', message, { details, cause: thrown });
}

/** A request that a handler failed, and the address of its pod. */
export interface FailedRequest {
  readonly requestId: string;
  readonly topic: string;
  readonly pod: string;
}

function failureOf(thrown: unknown): { readonly message: string; readonly [detail: string]: unknown } {
  if (thrown instanceof HttpException) {
    return { message: thrown.message, status: thrown.getStatus(), response: thrown.getResponse() };
  }
  if (thrown instanceof RpcException) return { message: thrown.message, error: thrown.getError() };
  if (thrown instanceof HedgeError) return { message: thrown.message, error: thrown.toJSON() };
  if (thrown instanceof Error) return { message: thrown.message };
  return { message: thrownMessage(thrown), error: thrown };
}

/** True when the handler answered on purpose; false for a fault that its own pod should log. */
export function isDeliberate(thrown: unknown): boolean {
  return thrown instanceof HttpException || thrown instanceof RpcException || !(thrown instanceof Error);
}

function thrownMessage(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown;
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown && typeof thrown.message === 'string') {
    return thrown.message;
  }
  return 'The handler failed.';
}
