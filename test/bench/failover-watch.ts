/** What one pod saw of a fail-over while it kept sending. Times are wall-clock milliseconds of this machine. */
export interface FailoverSeen {
  /** When each leader's first reply arrived. */
  readonly firstReply: Readonly<Record<string, number>>;
  readonly sends: number;
  /** What failed sends failed with. */
  readonly failures: readonly string[];
}

/** Sends to the leader without a pause, and notes who answered from when on. */
export class FailoverWatch {
  readonly #firstReply: Record<string, number> = {};
  readonly #failures: string[] = [];
  readonly #callers: Promise<void>[];
  #sends = 0;
  #stopped = false;

  /** @param send one message to the leader, answered with its address */
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
