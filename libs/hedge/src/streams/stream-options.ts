import { checkKeys } from '../common/validation/check-keys.js';
import { MAX_TIMER_MS } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import { checkCallOptions } from '../messaging/call-options.js';

export interface StreamOptions {
  /** Time limit of the whole stream in milliseconds, from the first `next()`. Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /**
   * Time without a message or a reply in milliseconds. After it, the stream fails with DEADLINE_EXCEEDED, up to a quarter
   * later. The time in which the caller handles a reply counts, too. Default: no limit. A pod that dies or falls silent is
   * detected without this option.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Cancels the stream: it throws the reason of the signal, and the `signal` of the handler aborts. */
  readonly signal?: AbortSignal | undefined;
}

const STREAM_OPTIONS = Object.keys({ timeoutMs: 0, idleTimeoutMs: 0, signal: 0 } satisfies Record<
  keyof StreamOptions,
  0
>);

/**
 * @param more names of further options of the method.
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

export function timedOut(topic: string, timeoutMs: number): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Stream '${topic}' was cancelled: it did not end within ${timeoutMs} ms. Allow more time.`,
  );
}

export function idleTooLong(topic: string, idleTimeoutMs: number): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Stream '${topic}' was cancelled: it had neither a message nor a reply for ${idleTimeoutMs} ms. See which end has stopped reading, or allow more time.`,
  );
}
