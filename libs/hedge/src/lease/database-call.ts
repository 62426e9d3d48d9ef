import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';

/**
 * Runs one database call with a deadline, also if the driver breaks its promise to keep one.
 * A result after the deadline is ignored.
 * @throws HedgeError BACKEND_UNAVAILABLE after the deadline. Errors of the call pass through.
 */
export function databaseCall<Result>(clock: Clock, limitMs: number, call: () => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(limitMs, () =>
      reject(
        new HedgeError(
          'BACKEND_UNAVAILABLE',
          `The database did not answer within ${limitMs} ms (backendTimeoutMs): it is down or slow. If it is slow, set a longer \`timing\``,
          {
            details: { timeoutMs: limitMs },
          },
        ),
      ),
    );
    // Called in a promise, so that a synchronous throw is a rejection too.
    Promise.resolve().then(call).then(resolve, reject).finally(cancel);
  });
}
