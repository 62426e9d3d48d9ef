import type { ArgumentsHost } from '@nestjs/common';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeContext } from './context.js';

let passed = false;

/**
 * Makes Nest's last filter pass the errors of this library's handlers unchanged. That filter replaces every error that is
 * no RpcException by "Internal server error", so the status of an HttpException would be lost. The connection of this
 * module has a filter for that (`HedgeExceptionFilter`). An app that connects the strategy itself has its own
 * configuration, which the module cannot change. Messages of other transports are unaffected.
 */
export function passHandlerErrors(): void {
  if (passed) return;
  passed = true;
  const last = BaseRpcExceptionFilter.prototype;
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its `this` below
  const original = last.catch;
  last.catch = function (this: BaseRpcExceptionFilter, exception: unknown, host: ArgumentsHost): Observable<unknown> {
    const ours = host.switchToRpc().getContext<unknown>() instanceof HedgeContext;
    return ours ? throwError(() => exception) : original.call(this, exception, host);
  };
}
