import { Injectable, UseGuards } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { handler } from '../decorators/decorators.js';

/** The guard writes to it and the handler reads it. Both get the same instance only by injection. */
@Injectable()
export class HandlerProbeController {
  readonly guarded = new Set<unknown>();
}

@Injectable()
export class HandlerProbeGuard implements CanActivate {
  constructor(private readonly probe: HandlerProbeController) {}

  canActivate(context: ExecutionContext): boolean {
    this.probe.guarded.add(context.switchToRpc().getContext());
    return true;
  }
}

/**
 * A handler of the library, called once at the start. Its answer shows whether Nest still injects and runs a guard that is
 * given as a class, before any handler of the app relies on that.
 */
@Injectable()
export class HandlerProbe {
  constructor(private readonly probe: HandlerProbeController) {}

  @UseGuards(HandlerProbeGuard)
  @handler('probe', '')
  answer(@Payload() payload: unknown, @Ctx() context: unknown): { payload: unknown; guarded: boolean } {
    return { payload, guarded: this.probe.guarded.delete(context) };
  }
}
