import { setMaxListeners } from 'node:events';

/** The listeners of a signal, and the function that removes their one native listener. */
interface Shared {
  readonly listeners: Set<() => void>;
  readonly remove: () => void;
}

const signals = new WeakMap<AbortSignal, Shared>();

/**
 * Calls the listener when a signal aborts; never for a signal that is aborted already. Adds one native listener to each
 * signal, however many calls share it: Node warns of a leak at the eleventh.
 *
 * @param listener must not throw.
 * @returns a function that removes the listener. Call it after use: the signal may live as long as the process.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const shared = signals.get(signal) ?? share(signal);
  // A new function, so that a caller may pass one listener twice.
  const call = (): void => listener();
  shared.listeners.add(call);
  return () => {
    if (!shared.listeners.delete(call) || shared.listeners.size > 0) return;
    signals.delete(signal);
    shared.remove();
  };
}

/** A controller whose signal any number of calls may listen to natively: Node does not warn of a leak. */
export function sharedAbortController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

function share(signal: AbortSignal): Shared {
  const listeners = new Set<() => void>();
  const abort = (): void => {
    signals.delete(signal);
    for (const listener of listeners) listener();
  };
  signal.addEventListener('abort', abort, { once: true });
  const shared = { listeners, remove: () => signal.removeEventListener('abort', abort) };
  signals.set(signal, shared);
  return shared;
}
