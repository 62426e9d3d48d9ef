import { HedgeError } from '../errors.js';

/**
 * Delays calls until this pod has started. While the start cannot begin yet, a call fails at once. As soon as it can
 * begin, a call starts the pod and waits.
 *
 * @example
 * const wait = gate.pass(`put "${key}"`);
 * if (wait !== undefined) await wait;
 */
export class StartGate {
  #start: (() => Promise<void>) | undefined;
  #open = false;

  /** A gate that is open from the beginning. */
  static opened(): StartGate {
    const gate = new StartGate();
    gate.open();
    return gate;
  }

  /** Makes the next call start the pod. @param start shared by all calls; opens the gate unless the start has to wait. */
  startWith(start: () => Promise<void>): void {
    this.#start = start;
  }

  /** Called at the end of the start. */
  open(): void {
    this.#open = true;
  }

  /**
   * @param call for the error's message.
   * @returns undefined when the pod has started, else a promise of the start.
   * @throws HedgeError NOT_STARTED, now or as a rejection: nothing was done.
   */
  pass(call: string): Promise<void> | undefined {
    if (this.#open) return undefined;
    if (this.#start === undefined) throw notStarted(call);
    return this.#start().then(() => {
      if (!this.#open) throw notStarted(call);
    });
  }
}

function notStarted(call: string): HedgeError {
  return new HedgeError(
    'NOT_STARTED',
    `${call}: this pod has not started, so nothing was done. Call it from onApplicationBootstrap or later, not from a constructor, a provider's factory or onModuleInit. HedgeModule starts with app.init() or app.listen(), not when it is loaded lazily; an app that connects HedgeStrategy with deferInitialization starts it with startAllMicroservices().`,
  );
}
