import { Logger } from '@nestjs/common';
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

/**
 * The logger of this library. Messages quote what came from outside, from peers, callers and the database; none of it
 * can begin a line of its own. No method throws: a step that logs has more to do, such as to end a call.
 */
export class LineLogger extends Logger {
  #warned = false;

  override log(message: unknown, ...rest: unknown[]): void {
    this.#write(() => super.log(safe(message), ...rest.map(safe)));
  }

  override warn(message: unknown, ...rest: unknown[]): void {
    this.#write(() => super.warn(safe(message), ...rest.map(safe)));
  }

  override error(message: unknown, ...rest: unknown[]): void {
    this.#write(() =>
      super.error(safe(message), ...rest.map((one) => (typeof one === 'string' ? safeStack(one) : one))),
    );
  }

  override debug(message: unknown, ...rest: unknown[]): void {
    this.#write(() => super.debug(safe(message), ...rest.map(safe)));
  }

  override verbose(message: unknown, ...rest: unknown[]): void {
    this.#write(() => super.verbose(safe(message), ...rest.map(safe)));
  }

  /** Writes with the logger of the app, which may throw. The first error becomes a warning of the process. */
  #write(line: () => void): void {
    try {
      line();
    } catch (error) {
      if (this.#warned) return;
      this.#warned = true;
      const why = oneLine(messageOf(error));
      process.emitWarning(
        `The logger of this app threw an error, so lines of ${this.context} are missing from its log: ${why}. Correct the logger that was given to Nest.`,
      );
    }
  }
}

function safe(message: unknown): unknown {
  return typeof message === 'string' ? oneLine(message) : message;
}
