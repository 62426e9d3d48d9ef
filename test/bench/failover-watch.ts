/** The observations of a pod that sends without a pause during a fail-over. Times are wall-clock milliseconds of this machine. */
export interface FailoverSeen {
  /** The arrival times of the first reply of each leader. */
  readonly firstReply: Readonly<Record<string, number>>;
  readonly sends: number;
  /** The errors of failed sends. */
  readonly failures: readonly string[];
}

/** Sends to the leader without a pause, and records the first reply of each leader. */
export class FailoverWatch {
  readonly #firstReply: Record<string, number> = {};
  readonly #failures: string[] = [];
  readonly #callers: Promise<void>[];
  #sends = 0;
  #stopped = false;

  /** @param send sends one message to the leader, which replies with its address */
  constructor(
    private readonly send: () => Promise<string>,
    concurrency: number,
  ) {
    this.#callers = Array.from({ length: concurrency }, () => this.#caller());
  }

  async stop(): Promise<FailoverSeen> {
    this.#stopped = true;
    await Promise.all(this.#callers);
    return { firstReply: this.#firstReply, sends: this.#sends, failures: this.#failures };
  }

  async #caller(): Promise<void> {
    while (!this.#stopped) {
      this.#sends += 1;
      try {
        this.#firstReply[await this.send()] ??= Date.now();
      } catch (error) {
        this.#failures.push(String(error));
      }
    }
  }
}
