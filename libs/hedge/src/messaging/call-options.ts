import { HedgeError } from '../common/errors.js';

/** The largest timeout that a frame can hold. The encoding of a larger one would fail, which would close the link. */
export const MAX_TIMEOUT_MS = 0xffff_ffff;

/**
 * Checks the timeout and the signal of a call.
 * @param method is used in the error's message together with `name`: `send 'price'`.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkCallOptions(method: string, name: string, timeoutMs: unknown, signal: unknown): void {
  if (!(typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `timeoutMs of ${method} '${name}' is ${inWords(timeoutMs)}. Give a number of milliseconds above 0 and at most ${MAX_TIMEOUT_MS}.`,
    );
  }
  checkSignal(`${method} '${name}'`, signal);
}

/**
 * Checks how often a request may run again.
 * @param call is used in the error's message.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkReruns(call: string, maxReruns: unknown): void {
  if (maxReruns === Infinity || (Number.isInteger(maxReruns) && (maxReruns as number) >= 0)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `maxReruns of ${call} is ${inWords(maxReruns)}. Give a whole number from 0 (never run it again), or Infinity.`,
  );
}

/**
 * @param call is used in the error's message.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkSignal(call: string, signal: unknown): void {
  if (signal === undefined || isAbortSignal(signal)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `signal of ${call} is not an AbortSignal. Give the signal of an AbortController, or AbortSignal.timeout(…).`,
  );
}

/** Distinguishes the text '5' from the number 5. */
export function inWords(value: unknown): string {
  return typeof value === 'string' ? `the text '${value}'` : String(value);
}

/** Checks the shape, so that a signal of another realm or of a polyfill is accepted. */
function isAbortSignal(value: unknown): boolean {
  const signal = value as Partial<AbortSignal> | null;
  return typeof signal?.aborted === 'boolean' && typeof signal.addEventListener === 'function';
}
