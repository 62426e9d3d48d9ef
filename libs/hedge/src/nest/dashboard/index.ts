export type { ActionRecord, DashboardAction } from './actions.js';
export type { GroupDetails, GroupState, MemberRow, Term } from './group-monitor.js';
import { Controller, Injectable, Logger, Module, UseGuards, VERSION_NEUTRAL } from '@nestjs/common';
import type { CanActivate, DynamicModule, ModuleMetadata, Provider, Type } from '@nestjs/common';
import { DASHBOARD_SETTINGS, DashboardController, type DashboardSettings } from './dashboard.controller.js';

export interface HedgeDashboardOptions {
  /** The path of the page, behind the global prefix of the app. Default: `hedge`. */
  readonly path?: string;
  /**
   * The guards of the page, its JSON, its stream and its actions, as for `@UseGuards`. Classes are made by Nest: give the
   * modules of their dependencies in `imports`. Without this option a start in production logs a warning. Give `[]` when
   * something else protects the path, such as a global guard.
   */
  readonly guards?: readonly (CanActivate | Type<CanActivate>)[];
  /** Modules whose providers the guards inject. */
  readonly imports?: ModuleMetadata['imports'];
  /** Whether people can run, pause and resume jobs, make the leader resign, resize semaphores and put values. Default: false. */
  readonly actions?: boolean;
  /**
   * The name of the person who sent a request of Express or Fastify, for the records of the actions. At most 200
   * characters. Default: the address of the client.
   */
  user?(request: unknown): string | undefined;
}

/**
 * A page that shows the group on any pod: the leader and its lease, members, locks, semaphores, jobs, keys and topics. It
 * is a controller of the app, so the global prefix, guards, and both Express and Fastify apply. Import it beside
 * `HedgeModule`. Values of keys and names of pods are on the page: protect it by `guards`.
 *
 * @example
 * \@Module({
 *   imports: [
 *     HedgeModule.forRoot({ group: 'orders', backend: postgres({ connectionString }) }),
 *     HedgeDashboardModule.forRoot({ path: 'hedge', guards: [AdminGuard] }),
 *   ],
 * })
 * export class AppModule {}
 */
@Module({})
export class HedgeDashboardModule {
  static forRoot(options: HedgeDashboardOptions = {}): DynamicModule {
    const { path = 'hedge', guards, imports = [], actions = false } = options;
    const settings: DashboardSettings = { actions, user: (request) => options.user?.(request) };
    const providers: Provider[] = [{ provide: DASHBOARD_SETTINGS, useValue: settings }];
    if (guards === undefined) providers.push(UnguardedWarning);
    return {
      module: HedgeDashboardModule,
      imports,
      controllers: [controllerAt(path, guards ?? [])],
      providers,
    };
  }
}

function controllerAt(path: string, guards: readonly (CanActivate | Type<CanActivate>)[]): Type<DashboardController> {
  @Controller({ path, version: VERSION_NEUTRAL })
  @UseGuards(...guards)
  class MountedDashboardController extends DashboardController {}
  return MountedDashboardController;
}

@Injectable()
class UnguardedWarning {
  onModuleInit(): void {
    if (process.env['NODE_ENV'] !== 'production') return;
    new Logger('Hedge').warn(
      'Everybody who reaches the HTTP port of this pod can see the dashboard: HedgeDashboardModule has no guards. Set "guards", or "guards: []" when something else protects its path.',
    );
  }
}
