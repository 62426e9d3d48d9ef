import type { ArgumentsHost } from '@nestjs/common';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeContext } from './context.js';

let passed = false;

/**
 * Lets what a handler of this library threw pass Nest's last filter unchanged. Nest makes "Internal server error" of all
 * but RpcExceptions there, so the status of an HttpException would be lost. The module's own connection has a filter for
 * that (`HedgeExceptionFilter`), but an app that connects the strategy itself has a configuration of its own, which
 * nothing else can reach. Messages of other transports are not affected.
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
