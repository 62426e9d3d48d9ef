import { Logger, Module } from '@nestjs/common';
import type { INestApplicationContext, Provider, Type } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { SILENT } from '../../libs/hedge/src/common/line-logger.js';
import type { IncomingRequest } from '../../libs/hedge/src/messaging/message.js';
import { PayloadCodec } from '../../libs/hedge/src/messaging/serializer.js';
import { HandlerProbe, HandlerProbeController } from '../../libs/hedge/src/nest/handlers/handler-probe.js';
import { HandlerDiscovery } from '../../libs/hedge/src/nest/handlers/discovery.js';
import { HandlerDispatch } from '../../libs/hedge/src/nest/handlers/dispatch.js';
import type { HandlerKind } from '../../libs/hedge/src/nest/handlers/handler-metadata.js';
import type { HandlerEnhancers } from '../../libs/hedge/src/nest/options.js';
import { HedgeStrategy } from '../../libs/hedge/src/nest/handlers/strategy.js';
import { HandlerWiring } from '../../libs/hedge/src/nest/handlers/wiring.js';
import { LEADER_MESSAGE } from '../../libs/hedge/src/election/leader.service.js';
import { BROADCAST } from '../../libs/hedge/src/membership/broadcast.js';
import { Stock } from './sample-handlers.js';

const codec = new PayloadCodec();

/** The part that connects handlers to Nest, without a cluster. */
@Module({
  imports: [DiscoveryModule],
  providers: [HedgeStrategy, HandlerDiscovery, HandlerWiring, HandlerProbe, HandlerProbeController],
})
export class WiringModule {}

export interface App {
  readonly context: INestApplicationContext;
  call(kind: HandlerKind, topic: string, data?: unknown, signal?: AbortSignal): Promise<unknown>;
}

export async function appWith(
  parts: { controllers?: Type[]; providers?: Provider[] },
  enhancers: HandlerEnhancers = {},
): Promise<App> {
  @Module({
    imports: [WiringModule],
    controllers: parts.controllers ?? [],
    providers: [Stock, ...(parts.providers ?? [])],
  })
  class AppModule {}
  const context = await Test.createTestingModule({ imports: [AppModule] }).compile();
  // Compiling sets another logger.
  Logger.overrideLogger(false);
  await context.init();
  await context.get(HandlerWiring, { strict: false }).wire(enhancers);
  return { context, call: caller(context) };
}

function caller(context: INestApplicationContext): App['call'] {
  const dispatch = new HandlerDispatch(
    context.get(HedgeStrategy, { strict: false }),
    codec,
    () => 'pod-a:7400',
    SILENT,
  );
  return async (kind, topic, data, signal = new AbortController().signal) =>
    codec.decode(topic, await dispatch.run(kind, request(kind, topic, data, signal)));
}

function request(kind: HandlerKind, topic: string, data: unknown, signal: AbortSignal): IncomingRequest {
  return {
    type: kind === 'leader' ? LEADER_MESSAGE : BROADCAST,
    topic,
    payload: codec.encode(topic, data),
    caller: { address: 'pod-b:7400', incarnation: 'b' },
    requestId: 'r1',
    attempt: 1,
    epoch: kind === 'leader' ? 7n : 0n,
    timeoutMs: 1_000,
    signal,
  };
}

export async function connected(
  parts: { controllers?: Type[]; providers?: Provider[] },
  enhancers: HandlerEnhancers = {},
) {
  @Module({
    imports: [WiringModule],
    controllers: parts.controllers ?? [],
    providers: [Stock, ...(parts.providers ?? [])],
  })
  class AppModule {}
  const testing = await Test.createTestingModule({ imports: [AppModule] })

    .compile();
  const app = testing.createNestApplication();
  const strategy = app.get(HedgeStrategy, { strict: false });
  app.connectMicroservice({ strategy });
  await app.init();
  const wired = await app.get(HandlerWiring, { strict: false }).wire(enhancers);
  return { app, wired, strategy, call: caller(app) };
}
