import { Injectable, UseGuards } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { handler } from '../decorators/decorators.js';

/** What the guard notes and the handler reads: only injection can give both the same one. */
@Injectable()
export class HandlerProbeController {
  readonly guarded = new Set<unknown>();
}

@Injectable()
export class HandlerProbeGuard implements CanActivate {
  constructor(private readonly perch: HandlerProbeController) {}

  canActivate(context: ExecutionContext): boolean {
    this.perch.guarded.add(context.switchToRpc().getContext());
    return true;
  }
}

/**
 * A handler of our own, called once at the start: it tells whether a guard given as a class still gets its
 * dependencies and still runs, before any handler of the app relies on it.
 */
@Injectable()
export class HandlerProbe {
  constructor(private readonly perch: HandlerProbeController) {}

  @UseGuards(HandlerProbeGuard)
  @handler('canary', '')
  sing(@Payload() payload: unknown, @Ctx() context: unknown): { payload: unknown; guarded: boolean } {
    return { payload, guarded: this.perch.guarded.delete(context) };
  }
}
