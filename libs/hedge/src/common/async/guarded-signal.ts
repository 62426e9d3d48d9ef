import { callListener } from './listener-errors.js';

type Listener = ((event: Event) => unknown) | { handleEvent(event: Event): unknown };
type Options = { readonly once?: boolean; readonly capture?: boolean; readonly signal?: AbortSignal } | boolean;

type Change = (type: string, listener: ((event: Event) => void) | null, options?: Options) => void;

/** An AbortController for a signal that the app receives: errors of its abort listeners are logged. */
export function guardedController(): AbortController {
  const controller = new AbortController();
  guard(controller.signal);
  return controller;
}

function guard(signal: AbortSignal): void {
  const add = signal.addEventListener.bind(signal) as Change;
  const remove = signal.removeEventListener.bind(signal) as Change;
  // One wrapper for each listener, so that it can be removed and is not added twice.
  const guarded = new WeakMap<object, (event: Event) => void>();
  const guardedOf = (listener: Listener): ((event: Event) => void) => {
    const known = guarded.get(listener);
    if (known !== undefined) return known;
    const made = (event: Event): void =>
      callListener('An abort listener', () =>
        typeof listener === 'function' ? listener.call(signal, event) : listener.handleEvent(event),
      );
    guarded.set(listener, made);
    return made;
  };
  let onabort: Listener | null = null;
  Object.defineProperties(signal, {
    addEventListener: {
      value: (type: string, listener: Listener | null, options?: Options) =>
        add(type, listener && guardedOf(listener), options),
    },
    removeEventListener: {
      value: (type: string, listener: Listener | null, options?: Options) =>
        remove(type, listener && guardedOf(listener), options),
    },
    onabort: {
      get: () => onabort,
      set: (listener: Listener | null) => {
        if (onabort !== null) remove('abort', guardedOf(onabort));
        onabort = typeof listener === 'function' ? listener : null;
        if (onabort !== null) add('abort', guardedOf(onabort));
      },
    },
  });
}
