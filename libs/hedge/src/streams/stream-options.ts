import { checkKeys } from '../common/validation/check-keys.js';
import { MAX_TIMER_MS } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import { checkCallOptions } from '../messaging/call-options.js';

export interface StreamOptions {
  /** Milliseconds that the stream may take in all, from the first reply that is asked for. Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds in which nothing need pass, neither a message nor a reply; then it fails with DEADLINE_EXCEEDED, up
   * to a quarter later. The time that the caller takes with a reply counts too. Default: no limit; a pod that dies or
   * falls silent is noticed without it.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Gives the stream up: it throws the signal's reason, and the handler's `signal` aborts. */
  readonly signal?: AbortSignal | undefined;
}

const STREAM_OPTIONS = Object.keys({ timeoutMs: 0, idleTimeoutMs: 0, signal: 0 } satisfies Record<
  keyof StreamOptions,
  0
>);

/**
 * @param more names of the method's own options.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkStreamOptions(
  method: string,
  topic: string,
  options: StreamOptions,
  more: readonly string[] = [],
): void {
  checkKeys(`The options of ${method} '${topic}'`, options, [...STREAM_OPTIONS, ...more]);
  const { timeoutMs = 1, idleTimeoutMs = 1, signal } = options;
  checkCallOptions(method, topic, timeoutMs, signal);
  for (const [name, value] of Object.entries({ timeoutMs, idleTimeoutMs }) as [string, unknown][]) {
    if (typeof value === 'number' && value > 0 && value <= MAX_TIMER_MS) continue;
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `${name} of ${method} '${topic}' is ${String(value)}. Give a number of milliseconds above 0 and at most ${MAX_TIMER_MS}.`,
    );
  }
}

export function tookTooLong(topic: string, timeoutMs: number): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Stream '${topic}' has not ended within ${timeoutMs} ms. Allow more time.`,
  );
}

export function stoodStill(topic: string, idleTimeoutMs: number): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Nothing passed on stream '${topic}' for ${idleTimeoutMs} ms. See which end has stopped reading, or allow more time.`,
  );
}
