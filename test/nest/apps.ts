import { Module } from '@nestjs/common';
import type { INestApplicationContext, ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClusterService, HedgeModule, LeaderService } from 'nestjs-hedge';
import type { HedgeOptions, Timing } from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';

/**
 * Times that no load of the machine exceeds, so that no lease or membership ends: for tests without failures. A start
 * takes longer.
 */
export const PATIENT: Timing = {
  leaseMs: 120_000,
  marginMs: 1_000,
  renewDeadlineMs: 90_000,
  retryMs: 100,
  backendTimeoutMs: 30_000,
  heartbeatMs: 500,
  heartbeatTimeoutMs: 5_000,
};

/** Several Nest apps of this process as pods of one group: gRPC on free ports, one database in memory. */
export class Pods {
  readonly apps: INestApplicationContext[] = [];
  readonly database = memoryDatabase();

  constructor(
    private readonly metadata: ModuleMetadata = {},
    private readonly options: Partial<HedgeOptions> = {},
  ) {}

  /** Options of one pod of this group. */
  pod(options: Partial<HedgeOptions> = {}): HedgeOptions {
    return {
      group: 'test',
      address: '127.0.0.1:0',
      timing: 'local',
      backend: memory({ database: this.database }),
      ...this.options,
      ...options,
    };
  }

  /** The module of one pod. Each has its own classes, as separate processes do. */
  module(options: Partial<HedgeOptions> = {}): new () => object {
    @Module({
      ...this.metadata,
      imports: [...(this.metadata.imports ?? []), HedgeModule.forRoot(this.pod(options))],
    })
    class PodModule {}
    return PodModule;
  }

  async start(options: Partial<HedgeOptions> = {}): Promise<INestApplicationContext> {
    const app = await NestFactory.createApplicationContext(this.module(options), {
      abortOnError: false,
      logger: false,
    });
    this.apps.push(app);
    return app;
  }

  async startThree(): Promise<void> {
    for (let i = 0; i < 3; i++) await this.start();
    await until(() => this.apps.every((app) => viewSize(app) === 3), 'three pods know each other');
  }

  get leader(): INestApplicationContext {
    const leaders = this.apps.filter((app) => app.get(LeaderService).isLeader());
    if (leaders.length !== 1) throw new Error(`${leaders.length} pods lead`);
    return leaders[0]!;
  }

  get followers(): INestApplicationContext[] {
    return this.apps.filter((app) => !app.get(LeaderService).isLeader());
  }

  async close(): Promise<void> {
    await Promise.all(this.apps.map((app) => app.close()));
  }
}

function viewSize(app: INestApplicationContext): number {
  const { members, settled } = app.get(ClusterService).view ?? { members: [], settled: false };
  return settled ? members.length : 0;
}

/** Waits for a state. Fails with its name when it does not come. */
export async function until(holds: () => boolean | Promise<boolean>, state: string, withinMs = 60_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Timed out while waiting for: ${state}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
