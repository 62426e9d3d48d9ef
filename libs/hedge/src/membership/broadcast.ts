import type { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';

/** What became of a broadcast at one member. Survives `JSON.stringify`. */
export type BroadcastResult<Reply = unknown> =
  | { readonly member: MemberId; readonly value: Reply; readonly error?: undefined; readonly ms: number }
  | {
      readonly member: MemberId;
      readonly value?: undefined;
      /**
       * HANDLER_FAILED, NO_HANDLER, OVERLOADED, SHUTTING_DOWN: it answered so. MEMBER_UNREACHABLE: it was not
       * reached. DEADLINE_EXCEEDED, OUTCOME_UNKNOWN: it may have run.
       */
      readonly error: HedgeError;
      /** Milliseconds until the answer, or until there was none. */
      readonly ms: number;
    };

/**
 * A broadcast under way: await it for all results, in the order of the view, or iterate over it to get each
 * as it arrives. Both may be done, and leaving the loop early stops nothing.
 */
export interface Broadcast<Reply = unknown>
  extends Promise<readonly BroadcastResult<Reply>[]>, AsyncIterable<BroadcastResult<Reply>> {
  /**
   * Whether the view it went to was complete as far as anybody can know. False while a new leader has not
   * heard from all members yet: then some may have been missed.
   */
  readonly settled: boolean;
}

/** @param results one for each member, in the order of the view. */
export function makeBroadcast<Reply>(
  results: readonly Promise<BroadcastResult<Reply>>[],
  settled: boolean,
): Broadcast<Reply> {
  const all = Promise.all(results);
  // Whoever only iterates sees a failure there.
  all.catch(() => undefined);
  return Object.assign(all, { settled, [Symbol.asyncIterator]: () => inOrderOfArrival(results) });
}

async function* inOrderOfArrival<Reply>(
  results: readonly Promise<BroadcastResult<Reply>>[],
): AsyncGenerator<BroadcastResult<Reply>, void> {
  const waiting = new Map(results.map((result, index) => [index, result.then((value) => ({ index, value }))]));
  while (waiting.size > 0) {
    const { index, value } = await Promise.race(waiting.values());
    waiting.delete(index);
    yield value;
  }
}
