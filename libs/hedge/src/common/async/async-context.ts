import { AsyncResource } from 'node:async_hooks';

const MANUAL = { requireManualDestroy: true };

/** As the process was when this library was loaded: no `AsyncLocalStorage` has a store in it. */
const outside = new AsyncResource('nestjs-hedge', MANUAL);

/**
 * Runs code of the user in an asynchronous context of its own: in no `AsyncLocalStorage` is there a store, and what it
 * enters by `enterWith` ends with it. So whatever a handler or listener sees there does not depend on which pod, which
 * link or which caller has brought about that it runs, nor on what ran before.
 */
export function inFreshContext<Result>(run: () => Result): Result {
  // A resource of its own, because `enterWith` writes to the one that runs.
  return outside.runInAsyncScope(() => new AsyncResource('nestjs-hedge delivery', MANUAL)).runInAsyncScope(run);
}

/**
 * For timers, sockets and the like that this library makes for itself, though it is a caller's turn: they would keep
 * what is in the caller's stores alive. To run no code of the user.
 */
export function outsideContext<Result>(run: () => Result): Result {
  return outside.runInAsyncScope(run);
}

/** Aborts a signal that code of the user has: its listeners run in a context of their own. */
export function abortInFreshContext(controller: AbortController, reason: unknown): void {
  if (!controller.signal.aborted) inFreshContext(() => controller.abort(reason));
}
