import { Injectable, Module } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { DynamicModule, OnApplicationBootstrap } from '@nestjs/common';
import { filter, firstValueFrom } from 'rxjs';
import { memory } from '../database/memory/index.js';
import { ClusterService } from '../membership/cluster.service.js';
import { HedgeCoreModule, type HedgeModuleExtras, TRANSPORT_FACTORY } from '../nest/core.module.js';
import { HedgeLifecycle, HedgeStart, internal } from '../nest/lifecycle.js';
import type { HedgeOptions, HedgeTiming } from '../nest/options.js';
import type { TransportFactory } from '../pod/transport-factory.js';
import { MemoryNetwork } from './memory-transport.js';

/** Options of `HedgeModule`, all optional. */
export interface HedgeTestingOptions extends Partial<Omit<HedgeOptions, 'mode'>>, HedgeModuleExtras {
  readonly mode?: 'member' | 'client';
  /** Pass the same network to several apps, with one `memoryDatabase()` and an address each, to form a group. */
  readonly network?: MemoryNetwork;
}

const TIMING: HedgeTiming = { preset: 'local', heartbeatMs: 100, heartbeatTimeoutMs: 500 };

/** Delays `init()` until there is a leader and a view, so that a test can begin. */
@Injectable()
class GroupFormed implements OnApplicationBootstrap {
  constructor(
    private readonly module: ModuleRef,
    private readonly cluster: ClusterService,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    // Nest calls the hooks of a module by the depth of its providers, and this hook may run first.
    await internal(this.module, HedgeStart).start();
    await firstValueFrom(this.cluster.changes$.pipe(filter(({ members }) => members.length > 0)));
  }
}

/**
 * `HedgeModule` for tests of an application: database and network are in this process's memory, no port is
 * opened, and when `init()` resolves this pod leads its group of one. Handlers run through guards, pipes and
 * the wire's encoding as they do in production.
 *
 * @example
 * const app = await Test.createTestingModule({
 *   imports: [HedgeTestingModule.forRoot()],
 *   controllers: [OrdersController],
 * }).compile();
 * await app.init();
 * expect(await app.get(LeaderService).send('price', { qty: 2 })).toEqual({ total: 6 });
 * await app.close();
 * @example
 * // Two pods: the second is a follower until the first is closed.
 * const network = new MemoryNetwork();
 * const database = memoryDatabase();
 * const pod = (address: string) => HedgeTestingModule.forRoot({ network, backend: memory({ database }), address });
 */
@Module({ providers: [HedgeLifecycle, GroupFormed] })
export class HedgeTestingModule {
  static forRoot({ network = new MemoryNetwork(), ...options }: HedgeTestingOptions = {}): DynamicModule {
    const { providers = [], ...core } = HedgeCoreModule.forRoot({
      group: 'test',
      address: 'pod:1',
      timing: TIMING,
      backend: memory(),
      ...options,
    });
    const transport = { provide: TRANSPORT_FACTORY, useValue: transportOn(network) };
    const services = { ...core, providers: [...providers, transport] };
    return { module: HedgeTestingModule, imports: [services], exports: [services] };
  }
}

function transportOn(network: MemoryNetwork): TransportFactory {
  return ({ settings, incarnation, secret, logger, metrics }) => {
    const { group, mode, address, limits } = settings;
    const self = { address: mode === 'member' ? address : '', incarnation };
    return { transport: network.transport(self, { group, secret, logger, metrics, ...limits }), source: 'in memory' };
  };
}
