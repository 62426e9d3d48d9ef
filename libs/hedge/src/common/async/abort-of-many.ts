import { setMaxListeners } from 'node:events';

/** For a signal that any number of calls listen to at once: Node takes the eleventh for a leak, and warns. */
export function abortOfMany(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
