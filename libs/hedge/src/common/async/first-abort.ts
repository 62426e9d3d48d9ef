import { onAbort } from './on-abort.js';

/**
 * A signal that aborts when the first of its sources aborts. The caller must release it after use.
 *
 * Replaces `AbortSignal.any`: on Node 20, that keeps each signal that had a listener until its last source is collected.
 * With a source that lives as long as the process, each call leaks 1.2 KB (measured).
 *
 * @example
 * const either = firstAbort(stop, given);
 * try { await work(either.signal); } finally { either.release(); }
 */
export function firstAbort(...sources: readonly AbortSignal[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const listeners = sources.map((source) => {
    const abort = (): void => controller.abort(source.reason);
    if (source.aborted) abort();
    return onAbort(source, abort);
  });
  return {
    signal: controller.signal,
    release: () => listeners.forEach((remove) => remove()),
  };
}
