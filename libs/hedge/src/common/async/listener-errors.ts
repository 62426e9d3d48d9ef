type Report = (message: string, stack: string | undefined) => void;

let report: Report = (message, stack) => console.error(stack ?? message);

/** Where errors of listeners are logged, for all pods of this process. */
export function reportListenerErrorsTo(to: Report): void {
  report = to;
}

/**
 * Calls what the app gave as a listener. An error of it is logged: there is nobody to throw it to, and Node would end
 * the process.
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
