import { messageOf } from './errors.js';

const MAX_LINE = 4_096;
/** Controls (a line feed, an escape sequence), line separators, and what turns the direction of text. */
// oxlint-disable-next-line no-control-regex -- these are what is looked for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A text as one line of a log: what could end the line, or change how it is shown, is escaped, and the rest cut. */
export function oneLine(text: string): string {
  const cut = text.length > MAX_LINE ? `${text.slice(0, MAX_LINE)}… (cut from ${text.length} characters)` : text;
  return cut.replace(UNSAFE, (unsafe) => `\\u${unsafe.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A stack with the message of its error on one line, and only frames below it. */
export function safeStack(stack: string): string {
  const frames = /(?:\n {4}at [^\n]*)+\s*$/.exec(stack);
  if (frames === null) return oneLine(stack);
  return [
    oneLine(stack.slice(0, frames.index)),
    ...frames[0]
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((frame) => oneLine(frame)),
  ].join('\n');
}

/** Writes the log lines of one part of a pod. `console` is one, and so is Nest's `Logger`. */
export interface Logger {
  log(message: string): void;
  warn(message: string): void;
  error(message: string, stack?: unknown): void;
  debug(message: string): void;
}

/** For parts that run without a log. */
export const SILENT: Logger = {
  log: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
};

/**
 * The logger of the engine, on top of the logger of the app. Messages quote text from outside: of peers, callers and
 * the database. None of that text can begin a line of its own. No method throws, because the caller has more to do,
 * such as to end a request.
 *
 * @example
 * const logger = new LineLogger('Hedge', console);
 */
export class LineLogger implements Logger {
  readonly #context: string;
  readonly #logger: Logger;
  #warned = false;

  /** @param context names the part of the pod. */
  constructor(context: string, logger: Logger) {
    this.#context = context;
    this.#logger = logger;
  }

  log(message: string): void {
    this.#write(() => this.#logger.log(oneLine(message)));
  }

  warn(message: string): void {
    this.#write(() => this.#logger.warn(oneLine(message)));
  }

  error(message: string, stack?: unknown): void {
    this.#write(() => this.#logger.error(oneLine(message), typeof stack === 'string' ? safeStack(stack) : stack));
  }

  debug(message: string): void {
    this.#write(() => this.#logger.debug(oneLine(message)));
  }

  /** The logger of the app may throw. Its first error becomes a warning of the process. */
  #write(line: () => void): void {
    try {
      line();
    } catch (error) {
      if (this.#warned) return;
      this.#warned = true;
      const why = oneLine(messageOf(error));
      process.emitWarning(
        `The logger of this app threw an error, so lines of ${this.#context} are missing from its log: ${why}. Correct the logger that was given to Nest.`,
      );
    }
  }
}
