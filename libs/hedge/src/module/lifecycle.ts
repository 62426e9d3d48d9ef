import { Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown, OnModuleDestroy } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { HedgeError } from '../common/errors.js';
import { HandlerDiscovery } from './discovery.js';
import { startNotices } from './notices.js';
import { HedgeRuntime } from './runtime.js';
import { HedgeStrategy } from './strategy.js';
import { HandlerWiring } from './wiring.js';

/** Ties the cluster's start and stop to Nest's. Nest may call each hook more than once. */
@Injectable()
export class HedgeLifecycle implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown {
  #started: Promise<void> | undefined;

  constructor(
    private readonly modules: ModulesContainer,
    private readonly runtime: HedgeRuntime,
    private readonly strategy: HedgeStrategy,
    private readonly wiring: HandlerWiring,
    private readonly discovery: HandlerDiscovery,
  ) {}

  onApplicationBootstrap(): Promise<void> {
    this.strategy.onListen(() => this.#start());
    return this.#start();
  }

  onModuleDestroy(): Promise<void> {
    return this.runtime.leave();
  }

  onApplicationShutdown(): Promise<void> {
    return this.runtime.close();
  }

  async #start(): Promise<void> {
    this.#refuseSecondModule();
    const { mode, enhancers } = this.runtime.settings;
    if (mode === 'off') return;
    if (mode === 'member' && !(await this.wiring.wire(enhancers))) return;
    this.#started ??= this.#startCluster();
    await this.#started;
  }

  async #startCluster(): Promise<void> {
    startNotices(this.discovery.notices(), this.runtime.leader, this.runtime.cluster);
    this.runtime.jobs.start(this.discovery.jobs());
    await this.runtime.start();
  }

  #refuseSecondModule(): void {
    const found = [...this.modules.values()].filter((module) => module.providers.has(HedgeLifecycle));
    if (found.length < 2) return;
    throw new HedgeError(
      'INVALID_OPTIONS',
      'HedgeModule is imported twice with options of its own, and an app is one member of one group. Import it once, in the root module; its services are global.',
    );
  }
}
