import { Logger } from '@nestjs/common';
import { LineLogger } from '../common/line-logger.js';

/** Creates a logger that writes with Nest's logger, which the app may replace. */
export function nestLogger(context: string): LineLogger {
  return new LineLogger(context, new Logger(context));
}
