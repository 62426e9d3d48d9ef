import { HedgeError, isHedgeErrorCode, messageOf } from '../common/errors.js';
import type { Failure } from './wire/hedge/v1/link.js';

/** An error as it travels: code, message, details, retryable. Anything but a HedgeError is HANDLER_FAILED. */
export function failureOf(error: unknown): Failure {
  if (error instanceof HedgeError) {
    const { code, message, retryable } = error;
    return { code, message, details: detailsText(error.details), retryable, leader: undefined };
  }
  return { code: 'HANDLER_FAILED', message: messageOf(error), details: '', retryable: false, leader: undefined };
}

/**
 * The error at the caller. A code that this version does not know, from a newer peer, becomes HANDLER_FAILED
 * with `details.code`, and not retryable.
 */
export function errorOf({ code, message, retryable, details: text }: Failure): HedgeError {
  const details = detailsFrom(text);
  if (isHedgeErrorCode(code)) return new HedgeError(code, message, { details, retryable });
  return new HedgeError('HANDLER_FAILED', message, { details: { ...details, code }, retryable: false });
}

function detailsText(details: object): string {
  try {
    const text = JSON.stringify(details);
    return text === '{}' ? '' : text;
  } catch {
    // A cycle or a bigint that a handler put there: the code and the message still tell.
    return '';
  }
}

function detailsFrom(text: string): Record<string, unknown> {
  if (text === '') return {};
  try {
    const details: unknown = JSON.parse(text);
    return typeof details === 'object' && details !== null ? { ...details } : {};
  } catch {
    return {};
  }
}
