import { Module } from '@nestjs/common';
import type { ConfigurableModuleAsyncOptions, DynamicModule } from '@nestjs/common';
import { HedgeCoreModule, type HedgeAsyncExtras, type HedgeModuleExtras } from './core.module.js';
import { HedgeLifecycle } from './lifecycle.js';
import type { HedgeOptions, HedgeOptionsFactory } from './options.js';

/**
 * Options of `HedgeModule.forRootAsync`: one of `useFactory` (with `inject`), `useClass` and `useExisting`, and
 * `imports`, `extraProviders` and `isGlobal`.
 */
export type HedgeAsyncOptions = ConfigurableModuleAsyncOptions<HedgeOptions, keyof HedgeOptionsFactory> &
  HedgeModuleExtras &
  HedgeAsyncExtras;

/**
 * Joins the pods of a Deployment into a group. Import it once, in any module. The pod starts after all modules, and leader
 * work ends before any other module is destroyed. The services (`LeaderService`, `ClusterService`, `KvStore`, …) are
 * global, unless `isGlobal` is false.
 *
 * The start fails with INVALID_OPTIONS if an option is invalid, a table is missing, the port is in use, or a handler
 * would not run as written. If the database does not answer, the pod retries in the background and is not ready
 * meanwhile. Call `app.enableShutdownHooks()` in main.ts, so that a stopping pod hands over the leadership.
 *
 * @example
 * \@Module({
 *   imports: [HedgeModule.forRoot({ group: 'orders', address: ':7400', backend: sqlite({ file: '/data/hedge.db' }) })],
 * })
 * export class AppModule {}
 */
@Module({ providers: [HedgeLifecycle] })
export class HedgeModule {
  /** @throws HedgeError INVALID_OPTIONS when Nest creates the module. The error lists all problems. */
  static forRoot(options: HedgeOptions & HedgeModuleExtras): DynamicModule {
    return around(HedgeCoreModule.forRoot(options));
  }

  /**
   * Like `forRoot`, with options from a factory, which can inject other providers.
   *
   * @example
   * HedgeModule.forRootAsync({
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ group: 'orders', backend: sqlite({ file: config.getOrThrow('DB') }) }),
   * })
   */
  static forRootAsync(options: HedgeAsyncOptions): DynamicModule {
    return around(HedgeCoreModule.forRootAsync(options));
  }
}

function around(core: DynamicModule): DynamicModule {
  return { module: HedgeModule, imports: [core], exports: [core] };
}
