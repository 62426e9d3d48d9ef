import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { LeaderElector } from '../election/leader-elector.runner.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import { StreamCaller } from '../streams/stream-caller.js';
import { StreamReceiver } from '../streams/stream-receiver.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { HedgeSettings } from '../nest/options.js';
import { StreamDispatch } from '../nest/handlers/stream-dispatch.js';
import type { HedgeStrategy } from '../nest/handlers/strategy.js';

export interface StreamsInit {
  readonly gate: StartGate;
  readonly transport: StreamTransport;
  readonly keeper: LeaderElector;
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
