import { HedgeError } from '../errors.js';

/**
 * Holds calls back until this pod has started. A call that comes before the start can begin fails at once; one that
 * comes while it can begin starts the pod and waits.
 *
 * @example
 * const wait = gate.pass(`put "${key}"`);
 * if (wait !== undefined) await wait;
 */
export class StartGate {
  #start: (() => Promise<void>) | undefined;
  #open = false;

  /** A gate that holds nothing back. */
  static opened(): StartGate {
    const gate = new StartGate();
    gate.open();
    return gate;
  }

  /** From now on a call starts the pod. @param start shared by all calls; opens the gate unless the start has to wait. */
  startWith(start: () => Promise<void>): void {
    this.#start = start;
  }

  /** The start is over. */
  open(): void {
    this.#open = true;
  }

  /**
   * @param call for the error's message.
   * @returns undefined when the pod has started, else what to wait for.
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
