import { messageOf } from '../common/errors.js';

export interface TroubleLogOptions {
  readonly logger: { log(message: string): void; warn(message: string): void };
  /** `The lease cannot be read or written, retrying`; the reason follows. */
  readonly begun: string;
  /** `The lease can be read again` */
  readonly over: string;
}

/** Logs that something fails when it begins to and when it is over, and not its repetitions. */
export class TroubleLog {
  #inTrouble = false;
  #closed = false;

  constructor(private readonly options: TroubleLogOptions) {}

  /** Never rejects: what fails is logged, and undefined. */
  async watch<Result>(run: () => Promise<Result>): Promise<Result | undefined> {
    try {
      const result = await run();
      this.#report(undefined);
      return result;
    } catch (error) {
      this.#report(messageOf(error));
      return undefined;
    }
  }

  /** From here on a failure is no news: what is called may be closed. */
  close(): void {
    this.#closed = true;
  }

  #report(trouble: string | undefined): void {
    const { logger, begun, over } = this.options;
    if (this.#closed || (trouble !== undefined) === this.#inTrouble) return;
    this.#inTrouble = trouble !== undefined;
    if (trouble === undefined) logger.log(over);
    else logger.warn(`${begun}: ${trouble}`);
  }
}
