import { Inject, Injectable, Module } from '@nestjs/common';
import type { DynamicModule, OnApplicationShutdown, OnModuleInit } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { register, type Registry } from 'prom-client';
import { HedgePod } from '../../pod/hedge-pod.js';
import { internal } from '../lifecycle.js';
import { RegistryMetrics } from './registry-metrics.js';

export interface HedgePrometheusOptions {
  /** The registry that the app serves. Default: the default registry of prom-client, which `@willsoto/nestjs-prometheus` serves. */
  readonly registry?: Registry;
}

const REGISTRY = Symbol('nestjs-hedge:prometheus-registry');

/** Reports the metrics of the pod of this app, from before its start until its end. */
@Injectable()
class PrometheusReports implements OnModuleInit, OnApplicationShutdown {
  #stop: () => void = () => undefined;

  constructor(
    private readonly module: ModuleRef,
    @Inject(REGISTRY) private readonly registry: Registry,
  ) {}

  onModuleInit(): void {
    this.#stop();
    this.#stop = RegistryMetrics.of(this.registry).report(internal(this.module, HedgePod).metrics);
  }

  onApplicationShutdown(): void {
    this.#stop();
  }
}

/**
 * Registers the metrics of Hedge in the `prom-client` registry of the app. Import it beside `HedgeModule`. The app serves
 * the registry as it likes. A scrape reads the memory of the pod, and calls no database. The metrics leave the registry when
 * the app closes.
 *
 * @example
 * \@Module({
 *   imports: [
 *     HedgeModule.forRoot({ group: 'orders', backend: postgres({ connectionString }) }),
 *     PrometheusModule.register(), // of @willsoto/nestjs-prometheus: serves /metrics
 *     HedgePrometheusModule.forRoot(),
 *   ],
 * })
 * export class AppModule {}
 */
@Module({})
export class HedgePrometheusModule {
  static forRoot({ registry = register }: HedgePrometheusOptions = {}): DynamicModule {
    return {
      module: HedgePrometheusModule,
      providers: [PrometheusReports, { provide: REGISTRY, useValue: registry }],
    };
  }
}
