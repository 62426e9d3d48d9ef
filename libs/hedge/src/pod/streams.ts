import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { LeaderElector } from '../election/leader-elector.runner.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import { StreamCaller } from '../streams/stream-caller.js';
import { StreamReceiver } from '../streams/stream-receiver.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { PodHandlers } from './handlers.js';
import type { PodSettings } from './settings.js';

export interface StreamsInit {
  readonly gate: StartGate;
  readonly transport: StreamTransport;
  readonly keeper: LeaderElector;
  readonly clock: Clock;
  readonly codec: PayloadCodec;
  readonly handlers: PodHandlers;
  readonly settings: PodSettings;
}

/** Serves the streams that come in, and makes what opens others. */
export function makeStreams(init: StreamsInit): { readonly streams: StreamCaller; readonly receiver: StreamReceiver } {
  const { gate, transport, keeper, clock, codec, handlers, settings } = init;
  const { limits, defaultTimeoutMs } = settings;
  const shared = { transport, route: keeper, codec, limits };
  const receiver = new StreamReceiver({
    ...shared,
    leader: handlers.leaderStream,
    broadcast: handlers.broadcastStream,
  });
  keeper.onDrain(({ fencingToken }) => receiver.drain(fencingToken));
  return { streams: new StreamCaller({ ...shared, gate, clock, openTimeoutMs: defaultTimeoutMs }), receiver };
}
