import { messageOf } from './errors.js';
import type { FieldValue, LogFields } from './log-events.js';

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

/** Writes the log lines of one part of a pod. A line of an event has its fields. */
export interface Logger {
  log(message: string, fields?: LogFields<'log'>): void;
  warn(message: string, fields?: LogFields<'warn'>): void;
  error(message: string, stack?: unknown, fields?: LogFields<'error'>): void;
  debug(message: string, fields?: LogFields<'debug'>): void;
}

/** The fields of a line as the logger of the app gets them. Tokens are digits. */
export type LineFields = Readonly<Record<string, string | number>>;

/** The logger of the app. `console` is one. */
export interface LineSink {
  log(message: string, fields: LineFields): void;
  warn(message: string, fields: LineFields): void;
  error(message: string, stack: unknown, fields: LineFields): void;
  debug(message: string, fields: LineFields): void;
}

/** For parts that run without a log. */
export const SILENT = {
  log: (): void => undefined,
  warn: (): void => undefined,
  error: (): void => undefined,
  debug: (): void => undefined,
};

/**
 * The logger of the engine, on top of the logger of the app. Messages and fields quote text from outside: of peers,
 * callers and the database. None of that text can begin a line of its own. No method throws, because the caller has more
 * to do, such as to end a request.
 *
 * @example
 * const logger = new LineLogger('Hedge', console, () => ({ group: 'orders', member: transport.self.address }));
 */
export class LineLogger implements Logger {
  readonly #context: string;
  readonly #sink: LineSink;
  readonly #common: () => Readonly<Record<string, FieldValue>>;
  #warned = false;

  /**
   * @param context names the part of the pod.
   * @param common reads the fields of every line.
   */
  constructor(context: string, sink: LineSink, common: () => Readonly<Record<string, FieldValue>> = () => ({})) {
    this.#context = context;
    this.#sink = sink;
    this.#common = common;
  }

  log(message: string, fields?: LogFields<'log'>): void {
    this.#write(() => this.#sink.log(oneLine(message), this.#fields(fields)));
  }

  warn(message: string, fields?: LogFields<'warn'>): void {
    this.#write(() => this.#sink.warn(oneLine(message), this.#fields(fields)));
  }

  error(message: string, stack?: unknown, fields?: LogFields<'error'>): void {
    const shown = typeof stack === 'string' ? safeStack(stack) : stack;
    this.#write(() => this.#sink.error(oneLine(message), shown, this.#fields(fields)));
  }

  debug(message: string, fields?: LogFields<'debug'>): void {
    this.#write(() => this.#sink.debug(oneLine(message), this.#fields(fields)));
  }

  #fields(fields: Readonly<Record<string, FieldValue>> = {}): LineFields {
    const shown: Record<string, string | number> = {};
    for (const [name, value] of Object.entries({ ...this.#common(), ...fields })) {
      if (value !== undefined) shown[name] = typeof value === 'number' ? value : oneLine(String(value));
    }
    return shown;
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
