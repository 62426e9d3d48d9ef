export type { ActionRecord, DashboardAction } from './actions.js';
export type { GroupDetails, GroupState, MemberRow, SpillRow, Term, TopicRow } from './group-monitor.js';
import {
  ConfigurableModuleBuilder,
  Controller,
  Injectable,
  Logger,
  Module,
  UseGuards,
  VERSION_NEUTRAL,
} from '@nestjs/common';
import type { CanActivate, ConfigurableModuleAsyncOptions, DynamicModule, ModuleMetadata, Type } from '@nestjs/common';
import { HedgeError } from '../../common/errors.js';
import { DASHBOARD_SETTINGS, DashboardController, type DashboardSettings } from './dashboard.controller.js';

/** The options that Nest needs before it makes the app. */
export interface HedgeDashboardMount {
  /** The path of the page, behind the global prefix of the app. Default: `hedge`. */
  readonly path?: string;
  /**
   * The guards of the page, its JSON, its stream and its actions, as for `@UseGuards`. Classes are made by Nest: give the
   * modules of their dependencies in `imports`. Without this option a start in production logs a warning. Give `[]` when
   * something else protects the path, such as a global guard.
   */
  readonly guards?: readonly (CanActivate | Type<CanActivate>)[];
  /** Modules whose providers the guards, or the factory, inject. */
  readonly imports?: ModuleMetadata['imports'];
}

/** The options that a factory can give. */
export interface HedgeDashboardFactoryOptions {
  /** Whether people can run, pause and resume jobs, make the leader resign, resize semaphores and put values. Default: false. */
  readonly actions?: boolean;
  /**
   * The name of the person who sent a request of Express or Fastify, for the records of the actions. At most 200
   * characters. Default: the address of the client.
   */
  user?(request: unknown): string | undefined;
  /**
   * The number of records of actions that the log table keeps, 10 or more, or Infinity for all. An action has two. Older
   * ones are deleted, except those of the last ten minutes. Default: 1,000.
   */
  readonly historyLimit?: number;
}

export interface HedgeDashboardOptions extends HedgeDashboardMount, HedgeDashboardFactoryOptions {}

/** For `forRootAsync({ useClass })` and `useExisting`. */
export interface HedgeDashboardOptionsFactory {
  createHedgeDashboardOptions(): HedgeDashboardFactoryOptions | Promise<HedgeDashboardFactoryOptions>;
}

/** One of `useFactory` (with `inject`), `useClass` and `useExisting`, and the options that a factory cannot give. */
export type HedgeDashboardAsyncOptions = HedgeDashboardMount &
  ConfigurableModuleAsyncOptions<HedgeDashboardFactoryOptions, 'createHedgeDashboardOptions'>;

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<HedgeDashboardFactoryOptions>()
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createHedgeDashboardOptions')
  .build();

/**
 * A page that shows the group on any pod: the leader and its lease, members, locks, semaphores, jobs, keys, messages and
 * spilled data. It is a controller of the app, so the global prefix, guards, and both Express and Fastify apply. Import it beside
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
export class HedgeDashboardModule extends ConfigurableModuleClass {
  static override forRoot({ path, guards, imports, ...options }: HedgeDashboardOptions = {}): DynamicModule {
    return mounted(super.forRoot(options), { path, guards, imports });
  }

  /**
   * Gets `actions`, `user` and `historyLimit` from a factory. `path` and `guards` stand beside it, because Nest reads them
   * before it makes the app: a guard that depends on the configuration injects it.
   *
   * @example
   * HedgeDashboardModule.forRootAsync({
   *   guards: [AdminGuard],
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ actions: config.get('HEDGE_ACTIONS') === 'on' }),
   * });
   */
  static override forRootAsync({ path, guards, ...options }: HedgeDashboardAsyncOptions): DynamicModule {
    return mounted(super.forRootAsync(options), { path, guards });
  }
}

/** 500 actions, and at most 3 MB in the database. */
const DEFAULT_HISTORY_LIMIT = 1_000;
const MIN_HISTORY_LIMIT = 10;

/** @throws HedgeError INVALID_OPTIONS */
function checkedLimit(historyLimit: number): number {
  const whole = Number.isSafeInteger(historyLimit) || historyLimit === Infinity;
  if (whole && historyLimit >= MIN_HISTORY_LIMIT) return historyLimit;
  throw new HedgeError(
    'INVALID_OPTIONS',
    `historyLimit of HedgeDashboardModule is ${String(historyLimit)}. Give a whole number of records from ${MIN_HISTORY_LIMIT}, or Infinity.`,
  );
}

/** Adds the controller, and the settings that it injects. */
function mounted(
  { imports = [], providers = [], ...module }: DynamicModule,
  { path = 'hedge', guards, imports: more = [] }: HedgeDashboardMount,
): DynamicModule {
  const settings = {
    provide: DASHBOARD_SETTINGS,
    inject: [MODULE_OPTIONS_TOKEN],
    useFactory: (options: HedgeDashboardFactoryOptions): DashboardSettings => ({
      actions: options.actions ?? false,
      user: (request) => options.user?.(request),
      historyLimit: checkedLimit(options.historyLimit ?? DEFAULT_HISTORY_LIMIT),
    }),
  };
  return {
    ...module,
    imports: [...imports, ...more],
    controllers: [controllerAt(path, guards ?? [])],
    providers: [...providers, settings, ...(guards === undefined ? [UnguardedWarning] : [])],
  };
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
