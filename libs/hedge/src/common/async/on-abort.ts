/** What is called when a signal aborts, and how the one native listener for all of it is removed. */
interface Shared {
  readonly listeners: Set<() => void>;
  readonly remove: () => void;
}

const signals = new WeakMap<AbortSignal, Shared>();

/**
 * Calls back when a signal aborts; never for one that has aborted already. With one native listener for each signal,
 * however many calls it serves at once: Node takes the eleventh on one signal for a leak, and warns.
 *
 * @param listener must not throw.
 * @returns stops listening. To be called when nobody waits any more, as the signal may live as long as the process.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const shared = signals.get(signal) ?? share(signal);
  // So that one function may be given twice.
  const call = (): void => listener();
  shared.listeners.add(call);
  return () => {
    if (!shared.listeners.delete(call) || shared.listeners.size > 0) return;
    signals.delete(signal);
    shared.remove();
  };
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
