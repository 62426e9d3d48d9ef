import { ConsoleLogger, Logger } from '@nestjs/common';
import type { LineFields, LineSink } from '../common/line-logger.js';

/**
 * How the logger of the app takes fields. Nest's JSON logger takes an object after the message since Nest 12, and only
 * the message itself before. nestjs-pino takes an object before the message. Others get the message alone.
 */
type Form = 'message' | 'object last' | 'object as message' | 'object first';

/** The part of a `ConsoleLogger` of Nest and of a `Logger` of nestjs-pino in which they differ. */
interface KnownLogger {
  readonly options?: { readonly json?: boolean; readonly structuredParams?: boolean };
  readonly contextName?: string;
}

/** Nest gives the logger of the app to subclasses only. The app may replace it at any time. */
class LoggerOfApp extends Logger {
  static get form(): Form {
    const { options, contextName } = (Logger.staticInstanceRef ?? {}) as KnownLogger;
    if (contextName !== undefined) return 'object first';
    if (options?.json !== true) return 'message';
    const printsParams = 'stringifyParams' in ConsoleLogger.prototype && options.structuredParams !== false;
    return printsParams ? 'object last' : 'object as message';
  }
}

/** Creates a sink that writes with Nest's logger. */
export function nestLogger(context: string): LineSink {
  const logger = new Logger(context);
  return {
    log: (message, fields) => logger.log(...inForm(message, [], fields)),
    warn: (message, fields) => logger.warn(...inForm(message, [], fields)),
    debug: (message, fields) => logger.debug(...inForm(message, [], fields)),
    error: (message, stack, fields) => logger.error(...inForm(message, [stack], fields)),
  };
}

function inForm(message: string, stack: readonly unknown[], fields: LineFields): [unknown, ...unknown[]] {
  const { form } = LoggerOfApp;
  if (form === 'object first') return [{ ...fields, ...(stack[0] !== undefined && { stack: stack[0] }) }, message];
  if (form === 'object last') return [message, ...stack, fields];
  if (form === 'object as message') return [{ message, ...fields }, ...stack];
  return [message, ...stack];
}
