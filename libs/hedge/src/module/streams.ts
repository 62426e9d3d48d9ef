import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/start-gate.js';
import type { LeaseKeeper } from '../leader/lease-keeper.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import { StreamCaller } from '../streams/stream-caller.js';
import { StreamReceiver } from '../streams/stream-receiver.js';
import type { StreamTransport } from '../transport/peer-stream.js';
import type { HedgeSettings } from './options.js';
import { StreamDispatch } from './stream-dispatch.js';
import type { HedgeStrategy } from './strategy.js';

export interface StreamsInit {
  readonly gate: StartGate;
  readonly transport: StreamTransport;
  readonly keeper: LeaseKeeper;
  readonly clock: Clock;
  readonly codec: PayloadCodec;
  readonly strategy: HedgeStrategy;
  readonly settings: HedgeSettings;
}

/** Serves the streams that come in, and makes what opens others. */
export function makeStreams(init: StreamsInit): { readonly streams: StreamCaller; readonly receiver: StreamReceiver } {
  const { gate, transport, keeper, clock, codec, strategy, settings } = init;
  const { limits, defaultTimeoutMs } = settings;
  const address = (): string => transport.self.address;
  const shared = { transport, route: keeper, codec, limits };
  const receiver = new StreamReceiver({
    ...shared,
    leader: new StreamDispatch(strategy, 'leader-stream', address),
    broadcast: new StreamDispatch(strategy, 'broadcast-stream', address),
  });
  keeper.onDrain(({ fencingToken }) => receiver.drain(fencingToken));
  return { streams: new StreamCaller({ ...shared, gate, clock, openTimeoutMs: defaultTimeoutMs }), receiver };
}
