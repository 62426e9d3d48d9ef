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
 * Makes the pods of a Deployment a group. Import it once, in any module. The pod starts after all modules, and leader
 * work ends before any other module is destroyed. Its services (`LeaderService`, `ClusterService`, `KvStore`, …) are
 * global, unless `isGlobal` is false.
 *
 * The start fails (INVALID_OPTIONS) on wrong options, a missing table, a port in use, or a handler that would
 * not run as written. A database that does not answer is retried in the background; the pod is not ready
 * meanwhile. Call `app.enableShutdownHooks()` in main.ts, so that a stop hands leadership over.
 *
 * @example
 * \@Module({
 *   imports: [HedgeModule.forRoot({ group: 'orders', address: ':7400', backend: sqlite({ file: '/data/hedge.db' }) })],
 * })
 * export class AppModule {}
 */
@Module({ providers: [HedgeLifecycle] })
export class HedgeModule {
  /** @throws HedgeError INVALID_OPTIONS, when Nest makes the module, with every problem found. */
  static forRoot(options: HedgeOptions & HedgeModuleExtras): DynamicModule {
    return around(HedgeCoreModule.forRoot(options));
  }

  /**
   * As `forRoot`, with options made by a factory, which may depend on other providers.
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
