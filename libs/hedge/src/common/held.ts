import { HedgeError } from './errors.js';

/**
 * The common shape of a lock and a permit. It may be destructured: `const { signal, isValid, release } = held`.
 */
export interface Held extends AsyncDisposable {
  readonly fencingToken: bigint;
  readonly signal: AbortSignal;
  readonly isValid: () => boolean;
  readonly release: () => Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The outcome of `tryUse`: the result of the function, or `ran: false` when the lock or permit was not free. */
export type TriedUse<Result> = { readonly ran: true; readonly result: Result } | { readonly ran: false };

/**
 * @param what for the error's message
 * @param example of a correct call
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertWork(what: string, work: unknown, example: string): asserts work is (given: never) => unknown {
  if (typeof work === 'function') return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The work for ${what} is a value of type ${typeof work}. Give a function: ${example}.`,
  );
}

/** Runs the work and then releases, also when the work fails. */
export async function runAndRelease<Kind extends Held, Result>(
  held: Kind,
  work: (held: Kind) => Result,
): Promise<Awaited<Result>> {
  try {
    return await work(held);
  } finally {
    await held.release();
  }
}
