import { AsyncResource } from 'node:async_hooks';

const MANUAL = { requireManualDestroy: true };

/** The context in which this library was loaded: no `AsyncLocalStorage` has a store in it. */
const outside = new AsyncResource('nestjs-hedge', MANUAL);

/**
 * Runs code of the user in a new asynchronous context: no `AsyncLocalStorage` has a store there, and a store that the
 * code enters with `enterWith` ends with it. So the context of a handler or listener does not depend on the pod, link
 * or caller that caused the run, or on earlier runs.
 */
export function inFreshContext<Result>(run: () => Result): Result {
  // A new resource for each run, because `enterWith` writes to the current one.
  return outside.runInAsyncScope(() => new AsyncResource('nestjs-hedge delivery', MANUAL)).runInAsyncScope(run);
}

/**
 * Creates timers, sockets and other resources of this library outside of the caller's context: inside, they would keep
 * the values of the caller's stores alive. Must run no code of the user.
 */
export function outsideContext<Result>(run: () => Result): Result {
  return outside.runInAsyncScope(run);
}

/** Aborts a signal that code of the user listens to: its listeners run in a new context. */
export function abortInFreshContext(controller: AbortController, reason: unknown): void {
  if (!controller.signal.aborted) inFreshContext(() => controller.abort(reason));
}
