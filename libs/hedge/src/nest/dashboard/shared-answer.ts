/** An answer is given for at least this time. */
const MIN_KEPT_MS = 1_000;
/** A slow answer is kept for so many times the time that it took, so that pages cause a tenth of this load at most. */
const KEPT_TIMES = 10;

/** One answer for all pages that ask at about the same time. A failure is not kept. */
export class SharedAnswer<Answer> {
  #answer: Promise<Answer> | undefined;

  constructor(private readonly ask: () => Promise<Answer>) {}

  read(): Promise<Answer> {
    this.#answer ??= this.#begin();
    return this.#answer;
  }

  /** The next read asks anew, because this pod has changed something. */
  forget(): void {
    this.#answer = undefined;
  }

  #begin(): Promise<Answer> {
    const begunAt = performance.now();
    const answer = this.ask();
    const end = (): void => {
      if (this.#answer === answer) this.#answer = undefined;
    };
    answer.then(() => {
      const tookMs = performance.now() - begunAt;
      setTimeout(end, Math.max(MIN_KEPT_MS, KEPT_TIMES * tookMs)).unref();
    }, end);
    return answer;
  }
}
