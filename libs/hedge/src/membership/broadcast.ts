import type { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { HANDLER_SLOTS, type RequestType } from '../messaging/request-type.js';
import { RequestKind } from '../wire/hedge/v1/link.js';

/** A request to every member. A member that stops refuses it, and waits for those that run. */
export const BROADCAST: RequestType = {
  kind: RequestKind.REQUEST_KIND_BROADCAST,
  name: 'broadcast',
  runsAt: 'member',
  duringDrain: 'refused',
  slots: HANDLER_SLOTS,
  mayUseReserve: false,
};

/** The outcome of a broadcast at one member. Survives `JSON.stringify`. */
export type BroadcastResult<Reply = unknown> =
  | { readonly member: MemberId; readonly value: Reply; readonly error?: undefined; readonly ms: number }
  | {
      readonly member: MemberId;
      readonly value?: undefined;
      /**
       * HANDLER_FAILED, NO_HANDLER, OVERLOADED, SHUTTING_DOWN: the answer of the member. MEMBER_UNREACHABLE: the member
       * was not reached. DEADLINE_EXCEEDED, OUTCOME_UNKNOWN: the handler may have run.
       */
      readonly error: HedgeError;
      /** Milliseconds until the answer or the failure. */
      readonly ms: number;
    };

/**
 * A running broadcast: await it for all results, in the order of the view, or iterate over it to get each result as it
 * arrives. You may do both. Leaving the loop early stops nothing.
 */
export interface Broadcast<Reply = unknown>
  extends Promise<readonly BroadcastResult<Reply>[]>, AsyncIterable<BroadcastResult<Reply>> {
  /**
   * Whether the view of the broadcast was complete. False while a new leader has not heard from all members yet: then
   * the broadcast may have missed some.
   */
  readonly settled: boolean;
}

/** @param results one for each member, in the order of the view. */
export function makeBroadcast<Reply>(
  results: readonly Promise<BroadcastResult<Reply>>[],
  settled: boolean,
): Broadcast<Reply> {
  const all = Promise.all(results);
  // A caller that only iterates sees a failure in the iteration.
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
