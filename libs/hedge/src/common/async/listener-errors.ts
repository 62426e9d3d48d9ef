type Report = (message: string, stack: string | undefined) => void;

let report: Report = (message, stack) => console.error(stack ?? message);

/** Sets the function that logs errors of listeners, for all pods of this process. */
export function reportListenerErrorsTo(to: Report): void {
  report = to;
}

/**
 * Calls a listener of the app and logs its error: no caller could catch it, and Node would end the process.
 */
export function callListener(what: string, call: () => unknown): void {
  const failed = (error: unknown): void =>
    report(`${what} threw: ${String(error)}`, error instanceof Error ? error.stack : undefined);
  try {
    const result = call();
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}
