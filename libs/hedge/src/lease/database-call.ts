import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';

/**
 * Makes one call to the database that ends within its time even if the driver breaks its promise to do so.
 * What the call does later is not looked at.
 * @throws HedgeError BACKEND_UNAVAILABLE when the time ran out; else what the call throws.
 */
export function databaseCall<Result>(clock: Clock, limitMs: number, call: () => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(limitMs, () =>
      reject(
        new HedgeError(
          'BACKEND_UNAVAILABLE',
          `The database did not answer within ${limitMs} ms (backendTimeoutMs). It is down, or slower than that: then set a longer \`timing\``,
          {
            details: { timeoutMs: limitMs },
          },
        ),
      ),
    );
    // As a promise, so that a synchronous throw is a rejection as well.
    Promise.resolve().then(call).then(resolve, reject).finally(cancel);
  });
}
